"""Verified downloads of files that the project does not ship, and safe unpacking of archives.

Nothing here runs at import. A download goes into `FILE.part`, is continued after an interruption,
and becomes `FILE` only after its size and checksum were found right.
"""

import bz2
import errno
import fcntl
import gzip
import hashlib
import html.parser
import json
import lzma
import math
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

from dnnlib.errors import UserError
from dnnlib.files import atomic_file, sync_directory
from dnnlib.progress import track

_MIB = 2**20
_CHUNK_BYTES = 2**16  # what a cut connection can lose
_TIMEOUT_S = (15.0, 60.0)  # to connect, to wait for the next bytes
_ATTEMPTS = 4  # failures in a row, per mirror; counted anew after every new byte
_BACKOFF_S = 1.0  # before the second attempt; doubles each time
_MAX_PAGE_BYTES = _MIB
_MAX_MEMBERS = 2_000_000
_MAX_PADDING_MIB = 16
_SHOW_CHECK_FROM_BYTES = 256 * _MIB


@dataclass(frozen=True)
class Artefact:
    """A file that is fetched from elsewhere.

    name: what messages call it. file_name: its name in the download directory. urls: mirrors, tried
    in order; none means that it must be fetched by hand. size: bytes. sha256, md5: hexadecimal
    digits; None where none is published, then the checksum of the first download is recorded and
    later files are compared with it. note: a sentence for messages, such as where to log in.
    """

    name: str
    file_name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    note: str = ""

    def __post_init__(self):
        if self.file_name in ("", ".", "..") or "/" in self.file_name:
            raise ValueError(f"file_name {self.file_name!r} must be a plain file name")


class _MirrorFailed(Exception):
    """This mirror will not deliver; the message says why. The next one may."""


class _Interrupted(Exception):
    """The transfer stopped; trying again, from where it stopped, may help."""


class _WrongContent(Exception):
    """A complete file is not the expected one."""


def fetch(
    artefact: Artefact, directory: str | Path, *, from_file: str | Path | None = None
) -> Path:
    """Return the path of the verified file, downloading it into `directory` where it is missing.

    from_file: a copy fetched by hand; it is verified and its own path is returned.
    Raises `UserError` that says what to fetch by hand and where to put it when nothing else helps.
    """
    target = Path(directory) / artefact.file_name
    if from_file is not None:
        return _accept(artefact, Path(from_file), target)
    if target.exists():
        return _accept(artefact, target, target)
    if not artefact.urls:
        raise UserError(
            f"{artefact.name} cannot be downloaded by a program. {_by_hand(artefact, target)}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    with _open_part(target) as part, requests.Session() as session:
        _check_space(target.parent, artefact.size, part.size)
        for url in artefact.urls:
            try:
                _complete(session, artefact, url, part, target)
                part.become(target)
                _record_checksum(artefact, target, target)
                return target
            except _MirrorFailed as reason:
                failures.append(f"{url}: {reason}")
    raise UserError(
        f"{artefact.name} could not be downloaded ({'; '.join(failures)}). "
        f"{_by_hand(artefact, target)}"
    )


def _by_hand(artefact: Artefact, target: Path) -> str:
    facts = [f"{artefact.size} bytes" if artefact.size else ""]
    facts += [f"{kind} {value}" for kind, value in _published(artefact).items()]
    facts = ", ".join(fact for fact in facts if fact)
    source = f" from {artefact.urls[0]}" if artefact.urls else ""
    return (
        f"Fetch {artefact.file_name}{f' ({facts})' if facts else ''} by hand{source} and put it at "
        f"{target.absolute()}, or give its place with --from-file. {artefact.note}"
    ).strip()


def _accept(artefact: Artefact, path: Path, target: Path) -> Path:
    """Return `path`, a file that is already here, if it is the artefact."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; {artefact.name} is needed here")
    try:
        _verify(artefact, path, target)
    except _WrongContent as reason:
        raise UserError(
            f"{path}: not the expected {artefact.file_name}: {reason}; remove it and fetch it again"
        ) from None
    _record_checksum(artefact, path, target)
    return path


def _check_space(directory: Path, size: int | None, present: int) -> None:
    """Raise a `UserError` if the disk cannot hold what is still missing."""
    missing = (size or 0) - present
    free = shutil.disk_usage(directory).free
    if missing > free:
        raise UserError(
            f"{directory}: {missing} more bytes are needed and {free} are free; free some space "
            "or choose a directory on another disk"
        )


# Checksums


def _published(artefact: Artefact) -> dict[str, str]:
    return {
        kind: value.lower()
        for kind, value in (("sha256", artefact.sha256), ("md5", artefact.md5))
        if value
    }


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _verify(artefact: Artefact, path: Path, target: Path) -> None:
    """Raise `_WrongContent` unless size and checksums are the published or the recorded ones."""
    size = path.stat().st_size
    if artefact.size is not None and size != artefact.size:
        raise _WrongContent(f"{size} bytes instead of {artefact.size}")
    record = _record_path(target)
    expected, origin = _published(artefact), "published"
    if not expected and record.exists():
        expected, origin = {"sha256": _read_record(record)}, f"recorded in {record}"
    for kind, found in _digests(path, expected).items():
        if found != expected[kind]:
            raise _WrongContent(f"{kind} {found} instead of the {origin} {expected[kind]}")


def _digests(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """Return the checksums of a file, reading it once."""
    sums = {kind: hashlib.new(kind) for kind in kinds}
    if not sums:
        return {}
    size = path.stat().st_size
    with open(path, "rb") as file:
        blocks = iter(lambda: file.read(_MIB), b"")
        if size >= _SHOW_CHECK_FROM_BYTES:
            total = math.ceil(size / _MIB)
            blocks = track(blocks, label=f"checking {path.name}", total=total, unit="MiB")
        for block in blocks:
            for checksum in sums.values():
                checksum.update(block)
    return {kind: checksum.hexdigest() for kind, checksum in sums.items()}


def _read_record(record: Path) -> str:
    words = record.read_text(errors="replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise UserError(f"{record}: not a sha256 record; remove it to have it written again")
    return words[0].lower()


def _record_checksum(artefact: Artefact, path: Path, target: Path) -> None:
    """Write `FILE.sha256` (as sha256sum does) at the first use of a file without published sums."""
    record = _record_path(target)
    if _published(artefact) or record.exists():
        return
    with atomic_file(record, "w") as file:
        file.write(f"{_digests(path, ['sha256'])['sha256']}  {artefact.file_name}\n")


# The unfinished file


class _Part:
    """`FILE.part`, and beside it a note of where its bytes come from."""

    def __init__(self, path: Path, file: IO[bytes]):
        self.path = path
        self.resumed = False  # whether it holds bytes of several transfers
        self._file = file
        self._note = path.with_name(f"{path.name}.json")

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def source(self) -> dict:
        """Return {"url", "validator"} of the bytes so far, or an empty dictionary."""
        try:
            source = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return {}
        return source if isinstance(source, dict) else {}

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._file.flush()

    def restart(self, source: dict | None = None) -> None:
        """Forget all bytes; the next ones come from `source`."""
        self._file.truncate(0)
        self.resumed = False
        if source is None:
            self._note.unlink(missing_ok=True)
        else:
            self._note.write_text(json.dumps(source))

    def become(self, target: Path) -> None:
        """Take the place of the finished file."""
        os.fsync(self._file.fileno())
        os.replace(self.path, target)
        self._note.unlink(missing_ok=True)
        sync_directory(target.parent)


@contextmanager
def _open_part(target: Path) -> Iterator[_Part]:
    """Open the unfinished file and keep a second download of the same file away from it."""
    path = target.with_name(f"{target.name}.part")
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise UserError(
                    f"{path}: another program is downloading this file; wait until it is done"
                ) from None
            # Some network file systems have no locks: go on without.
        part = _Part(path, file)
        try:
            yield part
        finally:
            if part.size == 0 and path.exists():
                part.restart()
                path.unlink()


# Transfers


def _complete(
    session: requests.Session, artefact: Artefact, url: str, part: _Part, target: Path
) -> None:
    """Bring `part` to the verified whole from one mirror."""
    for is_last_round in (False, True):
        _download(session, artefact, url, part)
        try:
            _verify(artefact, part.path, target)
            return
        except _WrongContent as reason:
            mixed = part.resumed
            part.restart()
            if is_last_round or not mixed:
                raise _MirrorFailed(f"delivers a wrong file: {reason}") from None
        # Pieces of different versions of the file may have met: once more from the start.


def _download(session: requests.Session, artefact: Artefact, url: str, part: _Part) -> None:
    """Fill `part`, trying again after cut connections as long as there is progress."""
    part.resumed = part.size > 0
    most, failures = part.size, 0
    while part.size != artefact.size:
        try:
            _transfer(session, artefact, url, part)
            return
        except _Interrupted as reason:
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures >= _ATTEMPTS:
                raise _MirrorFailed(f"{reason} ({failures} times)") from None
        time.sleep(_BACKOFF_S * 2 ** (failures - 1))


def _transfer(session: requests.Session, artefact: Artefact, url: str, part: _Part) -> None:
    """Do one request and append what it brings."""
    if not _may_continue(artefact, url, part):
        part.restart()
    try:
        with _request(session, artefact, url, part) as response:
            if _already_whole(response, part):
                return
            expected = _begin(response, artefact, url, part)
            _receive(response, artefact, part, expected)
    except requests.Timeout:
        raise _Interrupted("no answer in time") from None
    except requests.exceptions.SSLError:
        raise _MirrorFailed("has no certificate that this machine trusts") from None
    except requests.exceptions.ProxyError:
        raise _Interrupted("no connection through the proxy") from None
    except requests.ConnectionError:
        raise _Interrupted(f"no connection to {urlsplit(url).netloc}") from None
    except requests.RequestException as error:
        raise _MirrorFailed(f"{type(error).__name__}: {error}") from None
    except urllib3.exceptions.HTTPError:
        raise _Interrupted(f"the connection was cut after {part.size} bytes") from None


def _may_continue(artefact: Artefact, url: str, part: _Part) -> bool:
    """Tell whether new bytes may follow those that are there.

    A published checksum finds out if they do not belong together. Without one, the server must
    confirm that the file is still the same (If-Range).
    """
    if part.size == 0 or (artefact.size is not None and part.size > artefact.size):
        return False
    source = part.source
    return bool(_published(artefact)) or (
        source.get("url") == url and bool(source.get("validator"))
    )


def _request(
    session: requests.Session, artefact: Artefact, url: str, part: _Part
) -> requests.Response:
    """Send the request and return a response that brings the file, not a page about it."""
    headers = {"Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.source.get("url") == url and part.source.get("validator"):
            headers["If-Range"] = part.source["validator"]
    address = url
    for _ in range(3):
        response = session.get(address, headers=headers, stream=True, timeout=_TIMEOUT_S)
        page = _read_page(response) if _is_page(response, artefact) else None
        _check_status(response, page or "")
        if page is None:
            return response
        address = _find_confirmation(page, response.url)
    raise _MirrorFailed("answers with one web page after another instead of the file")


def _read_page(response: requests.Response) -> str:
    with response:
        return response.raw.read(_MAX_PAGE_BYTES, decode_content=True).decode("utf-8", "replace")


def _check_status(response: requests.Response, page: str) -> None:
    """Raise unless the status is one of success; `page` is the explanation that came along."""
    if _speaks_of_quota(page):
        raise _MirrorFailed(_QUOTA)
    status = response.status_code
    if status in (200, 206, 416):
        return
    response.close()
    reason = f"HTTP {status} {response.reason or ''}".strip()
    if status in (408, 425, 429) or status >= 500:
        raise _Interrupted(reason)
    raise _MirrorFailed(reason)


def _already_whole(response: requests.Response, part: _Part) -> bool:
    """Handle "range not satisfiable": nothing is left to send, or the file has become shorter."""
    if response.status_code != 416:
        return False
    if part.size and response.headers.get("Content-Range", "") == f"bytes */{part.size}":
        return True
    part.restart()
    raise _Interrupted("the server refuses to continue (HTTP 416)")


def _begin(response: requests.Response, artefact: Artefact, url: str, part: _Part) -> int | None:
    """Prepare `part` for the body of `response`; return the size of the whole file if known."""
    start, total = _announced(response)
    if start not in (0, part.size):
        part.restart()
        raise _Interrupted("the server continues at a wrong place")
    if None not in (total, artefact.size) and total != artefact.size:
        raise _MirrorFailed(f"offers {total} bytes instead of {artefact.size}")
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "")
    if total is None and not chunked and artefact.size is None and not _published(artefact):
        raise _MirrorFailed("tells no size, so that a cut could not be noticed")
    if start == 0:
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else ""
        validator = strong or response.headers.get("Last-Modified", "")
        part.restart({"url": url, "validator": validator})
    else:
        part.resumed = True
    _check_space(part.path.parent, total, part.size)
    return artefact.size if total is None else total


def _announced(response: requests.Response) -> tuple[int, int | None]:
    """Return where the body starts in the file, and the size of the whole file if it is told."""
    if response.status_code == 206:
        match = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _receive(
    response: requests.Response, artefact: Artefact, part: _Part, expected: int | None
) -> None:
    """Append the body to `part` with progress."""
    total = None if expected is None else math.ceil((expected - part.size) / _MIB)
    pieces = _append(response, part, expected)
    for _ in track(pieces, label=f"fetching {artefact.file_name}", total=total, unit="MiB"):
        pass
    if expected is not None and part.size < expected:
        raise _Interrupted(f"the connection was cut after {part.size} of {expected} bytes")


def _append(response: requests.Response, part: _Part, expected: int | None) -> Iterator[None]:
    """Append the body to `part`; yield after every MiB and at the end."""
    received = 0
    # Not decoded: a server that calls a .tgz "Content-Encoding: gzip" must not get it unpacked.
    for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
        if expected is not None and part.size + len(chunk) > expected:
            part.restart()
            raise _MirrorFailed(f"sends more than {expected} bytes")
        part.write(chunk)
        whole_mib = (received + len(chunk)) // _MIB - received // _MIB
        received += len(chunk)
        yield from [None] * whole_mib
    if received % _MIB:
        yield None


# Pages that come instead of a file, above all from Google Drive

_QUOTA_PHRASES = (
    "quota exceeded",
    "download quota",
    "too many users have viewed or downloaded this file",
)
_QUOTA = (
    "Google Drive's download quota for this file is used up; it is renewed within a day (or open "
    "the address in a browser while logged in, copy the file to your own Drive, fetch the copy)"
)


def _is_page(response: requests.Response, artefact: Artefact) -> bool:
    content_type = response.headers.get("Content-Type", "").lower()
    wanted = artefact.file_name.endswith((".html", ".htm"))
    return content_type.startswith("text/html") and not wanted


def _speaks_of_quota(page: str) -> bool:
    plain = " ".join(page.lower().split())
    return any(phrase in plain for phrase in _QUOTA_PHRASES)


def _find_confirmation(page: str, url: str) -> str:
    """Return the address behind Google Drive's "download anyway", or say what the page means."""
    parser = _ConfirmationParser()
    parser.feed(page)
    host = urlsplit(url).hostname or ""
    if host == "accounts.google.com":
        raise _MirrorFailed("asks for a login; the file is not public")
    if parser.address is None:
        raise _MirrorFailed("answers with a web page instead of the file")
    address = urlsplit(urljoin(url, parser.address))
    known = (address.hostname or "").endswith((".google.com", ".googleusercontent.com"))
    if address.scheme not in ("http", "https") or not (known or address.hostname == host):
        raise _MirrorFailed("answers with a page that leads elsewhere")
    return address.geturl()


class _ConfirmationParser(html.parser.HTMLParser):
    """Finds the form (today's pages) or the link (older ones) that confirms a large download."""

    def __init__(self):
        super().__init__()
        self.address: str | None = None
        self._action: str | None = None
        self._fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._action, self._fields = values.get("action", ""), {}
        elif tag == "input" and self._action is not None and values.get("type") == "hidden":
            self._fields[values.get("name", "")] = values.get("value", "")
        elif tag == "a" and "confirm=" in values.get("href", "") and self.address is None:
            self.address = values["href"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._action is not None:
            if "confirm" in self._fields:
                separator = "&" if "?" in self._action else "?"
                self.address = self._action + separator + urlencode(self._fields)
            self._action = None


# Unpacking


def extract(archive: str | Path, directory: str | Path, *, max_bytes: int) -> Path:
    """Unpack a zip or tar archive (plain, gz, bz2, xz) into `directory` and return its path.

    `directory` must be new or empty; it appears only when everything is unpacked. Only files and
    directories are accepted: no links or devices, no names that lead out of `directory`, no name
    twice, and no more than `max_bytes` bytes in all, whatever the archive claims.
    """
    archive, directory = Path(archive), Path(directory)
    if not archive.is_file():
        raise UserError(f"{archive}: no such file; check the path")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory}: already there and not an empty directory; choose another")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _unpack(archive, temporary, max_bytes)
        os.sync()  # one call for all files; a call for each of 200,000 would take minutes
        os.replace(temporary, directory)
        sync_directory(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


@dataclass(frozen=True)
class _Member:
    """One entry of an archive. content is None for a directory."""

    name: str
    content: IO[bytes] | None


_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression method that zipfile does not know
    ValueError,
    RuntimeError,
)


def _unpack(archive: Path, directory: Path, max_bytes: int) -> None:
    with open(archive, "rb") as file:
        is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    members = _zip_members(archive, max_bytes) if is_zip else _tar_members(archive)
    left, number = max_bytes, 0
    try:
        for number, member in enumerate(members, start=1):
            if number > _MAX_MEMBERS:
                raise UserError(f"{archive}: more than {_MAX_MEMBERS} entries")
            path = _place(archive, directory, member.name)
            if member.content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            left -= _write_member(member.content, path, left)
            if left < 0:
                raise UserError(f"{archive}: unpacks to more than the {max_bytes} bytes expected")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise UserError(f"{archive}: holds the name {_printable(member.name)} twice") from None
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk and the like; decompressors raise OSError without a number
        raise UserError(
            f"{archive}: not a zip or tar archive, or a damaged one ({_printable(str(error))}); "
            "fetch it again"
        ) from None
    if number == 0:
        raise UserError(f"{archive}: an empty archive; fetch it again")


def _place(archive: Path, directory: Path, name: str) -> Path:
    """Return where an entry goes, refusing every name that leads out of `directory`."""
    path = PurePosixPath(name)
    unusual = re.search(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:", name) or len(name) > 1000
    too_long = any(len(os.fsencode(part)) > 255 for part in path.parts)
    if unusual or too_long or path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"{archive}: holds the unsafe name {_printable(name)}; nothing was unpacked"
        )
    return directory / path


def _printable(name: str) -> str:
    return ascii(name)[1:-1][:120]


def _write_member(content: IO[bytes], path: Path, limit: int) -> int:
    """Copy an entry into a new file, at most one chunk beyond `limit`; return its size."""
    written = 0
    with content, open(path, "xb") as file:
        while written <= limit and (chunk := content.read(_CHUNK_BYTES)):
            file.write(chunk)
            written += len(chunk)
    return written


def _zip_members(archive: Path, max_bytes: int) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if sum(info.file_size for info in infos) > max_bytes:
            raise UserError(f"{archive}: unpacks to more than the {max_bytes} bytes expected")
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{archive}: holds a link or device, {_printable(info.filename)}")
            if info.flag_bits & 1:
                raise UserError(f"{archive}: is encrypted; unpack it by hand")
            yield _Member(info.filename, None if info.is_dir() else opened.open(info))


_DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


def _tar_members(archive: Path) -> Iterator[_Member]:
    with open(archive, "rb") as file:
        head = file.read(6)
    opener = next((o for start, o in _DECOMPRESSORS.items() if head.startswith(start)), open)
    with opener(archive, "rb") as file:
        small_reads = _SmallReads(file)
        with tarfile.open(fileobj=small_reads, mode="r:") as opened:
            while (info := opened.next()) is not None:
                opened.members.clear()  # tarfile keeps all headers otherwise
                if not info.isreg() and not info.isdir():
                    raise UserError(f"{archive}: holds a link or device, {_printable(info.name)}")
                yield _Member(info.name, None if info.isdir() else opened.extractfile(info))
            small_reads.seek(opened.offset)
            _check_end(small_reads)


def _check_end(file: "_SmallReads") -> None:
    """Tell the true end of a tar from a broken header, which tarfile takes for the end as well.

    Reading the padding makes a decompressor compare its checksum.
    """
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("cut short")
    for _ in range(_MAX_PADDING_MIB):
        if not file.read(_MIB):
            return
    raise tarfile.ReadError("absurd padding")


class _SmallReads:
    """A file that refuses to read much at once: a header must not claim gigabytes of memory."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, at most one MiB."""
        if not 0 <= size <= _MIB:
            raise tarfile.ReadError("absurd header")
        return self._file.read(size)
