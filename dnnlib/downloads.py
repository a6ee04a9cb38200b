"""Verified downloads of files that the project does not ship.

Ours, because files of many gigabytes must continue over days, mirrors and Google Drive's pages, and
never be taken for whole before their checksum was seen.

Nothing here runs at import. A download goes into `FILE.part`, is continued after an interruption,
and becomes `FILE` only after its size and checksum were found right.
"""

import hashlib
import html.parser
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import urllib3

from dnnlib.errors import MissingFile, UserError
from dnnlib.files import atomic_file, lock, sync_directory
from dnnlib.progress import track

_MIB = 2**20
_CHUNK_BYTES = 2**16  # what a cut connection can lose
_TIMEOUT_S = (15.0, 60.0)  # to connect, to wait for the next bytes
_ATTEMPTS = 4  # failures in a row, per mirror; counted anew after every new byte
_BACKOFF_S = 1.0  # before the second attempt; doubles each time
_SHOW_CHECK_FROM_BYTES = 256 * _MIB
_QUOTA_PHRASES = (
    "quota exceeded",
    "download quota",
    "too many users have viewed or downloaded this file",
)
_QUOTA = (
    "Google Drive's download quota for this file is used up; it is renewed within a day (or open "
    "the address in a browser while logged in, copy the file to your own Drive, fetch the copy)"
)


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

    @property
    def checksums(self) -> dict[str, str]:
        """The published checksums by kind."""
        sums = {"sha256": self.sha256, "md5": self.md5}
        return {kind: value.lower() for kind, value in sums.items() if value}


def fetch(
    artefact: Artefact, directory: str | Path, *, from_file: str | Path | None = None
) -> Path:
    """Return the path of the verified file, downloading it into `directory` where it is missing.

    from_file: a copy fetched by hand; it is verified and its own path is returned.
    Raises `UserError` that says what to fetch by hand and where to put it when nothing else helps.
    """
    target = Path(directory) / artefact.file_name
    if from_file is not None or target.exists():
        return _accept(artefact, target if from_file is None else Path(from_file), target)
    by_hand = _by_hand(artefact, target)
    if not artefact.urls:
        raise UserError(f"{artefact.name} cannot be downloaded by a program. {by_hand}")
    failures = []
    with _Download(artefact, target) as download:
        for url in artefact.urls:
            try:
                download.finish(url)
                return target
            except _MirrorFailed as reason:
                failures.append(f"{url}: {reason}")
    raise UserError(f"{artefact.name} could not be downloaded ({'; '.join(failures)}). {by_hand}")


def _by_hand(artefact: Artefact, target: Path) -> str:
    facts = [f"{artefact.size} bytes"] if artefact.size else []
    facts += [f"{kind} {value}" for kind, value in artefact.checksums.items()]
    described = f" ({', '.join(facts)})" if facts else ""
    source = f" from {artefact.urls[0]}" if artefact.urls else ""
    return (
        f"Fetch {artefact.file_name}{described} by hand{source} and put it at {target.absolute()}, "
        f"or give its place with --from-file. {artefact.note}"
    ).strip()


def _accept(artefact: Artefact, path: Path, target: Path) -> Path:
    """Return `path`, a file that is already here, if it is the artefact."""
    if not path.is_file():
        raise MissingFile(f"{path}: no such file; {artefact.name} is needed here")
    if fault := _find_fault(artefact, path, target):
        raise UserError(
            f"{path}: not the expected {artefact.file_name}: {fault}; remove it and fetch it again"
        )
    return path


def _find_fault(artefact: Artefact, path: Path, target: Path) -> str:
    """Return how a file differs from what is published, or "".

    Where no checksum is published, that of the first file is kept beside `target` for the next.
    """
    size = path.stat().st_size
    if artefact.size not in (None, size):
        return f"{size} bytes instead of {artefact.size}"
    record = target.with_name(f"{target.name}.sha256")  # as sha256sum writes it
    expected, origin = artefact.checksums, "published"
    if not expected and record.exists():
        expected, origin = {"sha256": _read_record(record)}, f"recorded in {record}"
    found = _digests(path, expected or ["sha256"])
    for kind, value in expected.items():
        if found[kind] != value:
            return f"{kind} {found[kind]} instead of the {origin} {value}"
    if not expected:
        with atomic_file(record, "w") as file:
            file.write(f"{found['sha256']}  {artefact.file_name}\n")
    return ""


def _read_record(record: Path) -> str:
    match = re.match(r"\s*([0-9a-fA-F]{64})(\s|$)", record.read_text(errors="replace"))
    if match is None:
        raise UserError(f"{record}: not a sha256 record; remove it to have it written again")
    return match[1].lower()


def _digests(path: Path, kinds: Iterable[str]) -> dict[str, str]:
    """Return the checksums of a file, reading it once."""
    sums = {kind: hashlib.new(kind) for kind in kinds}
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


class _MirrorFailed(Exception):
    """This mirror will not deliver; the message says why. The next one may."""


class _Interrupted(Exception):
    """The transfer stopped; trying again, from where it stopped, may help."""


class _Download:
    """Owns `FILE.part` while it is filled, and `FILE.part.json`: {url: validator} of its bytes."""

    def __init__(self, artefact: Artefact, target: Path):
        self._artefact, self._target = artefact, target
        self._path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def __enter__(self) -> "_Download":
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "ab")
        try:
            lock(self._file, wait=False)
        except BlockingIOError:
            self._file.close()
            raise UserError(
                f"{self._path}: another program is downloading this file; wait until it is done"
            ) from None
        self._session = requests.Session()
        self._is_mixed = self._size > 0  # whether it may hold bytes of several versions
        return self

    def __exit__(self, *_error) -> None:
        if self._size == 0:
            self._path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        self._file.close()
        self._session.close()

    @property
    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def _restart(self, url: str = "", validator: str = "") -> None:
        """Forget all bytes; the next ones come from `url`."""
        self._file.truncate(0)
        self._is_mixed = False
        self._note.write_text(json.dumps({url: validator}))

    def _validator(self, url: str) -> str:
        """Return what the server must confirm (If-Range) before it continues, or ""."""
        try:
            return json.loads(self._note.read_text()).get(url, "")
        except (OSError, ValueError, AttributeError):
            return ""

    def finish(self, url: str) -> None:
        """Bring the file to its verified whole from one mirror and put it in its place."""
        self._check_space(self._artefact.size)
        self._fill(url)
        fault = _find_fault(self._artefact, self._path, self._target)
        if fault and self._is_mixed:
            self._restart()
            self._fill(url)
            fault = _find_fault(self._artefact, self._path, self._target)
        if fault:
            self._restart()
            raise _MirrorFailed(f"delivers a wrong file: {fault}")
        os.fsync(self._file.fileno())
        os.replace(self._path, self._target)
        self._note.unlink(missing_ok=True)
        sync_directory(self._target.parent)

    def _check_space(self, size: int | None) -> None:
        missing = (size or 0) - self._size
        free = shutil.disk_usage(self._path.parent).free
        if missing > free:
            raise UserError(
                f"{self._path.parent}: {missing} more bytes are needed and {free} are free; free "
                "some space or choose a directory on another disk"
            )

    def _fill(self, url: str) -> None:
        """Fetch what is missing, trying again after cut connections while there is progress."""
        most, failures = self._size, 0
        while self._size != self._artefact.size:
            try:
                self._transfer(url)
                return
            except _Interrupted as reason:
                failures = 1 if self._size > most else failures + 1
                most = max(most, self._size)
                if failures >= _ATTEMPTS:
                    raise _MirrorFailed(f"{reason} ({failures} times)") from None
            time.sleep(_BACKOFF_S * 2 ** (failures - 1))

    def _transfer(self, url: str) -> None:
        """Do one request and append what it brings."""
        # A published checksum would tell pieces of different versions; without one the server must.
        validator = self._validator(url)
        is_safe = bool(validator or self._artefact.checksums)
        if not is_safe or self._size > (self._artefact.size or math.inf):
            self._restart()
        headers = {"Accept-Encoding": "identity"}
        if self._size:
            headers["Range"] = f"bytes={self._size}-"
            headers["If-Range"] = validator or None  # None: requests leaves it out
        try:
            with _request(self._session, url, headers, self._artefact.file_name) as response:
                self._receive(response, url)
        except (requests.ConnectionError, requests.Timeout) as error:
            kind = type(error).__name__
            raise _Interrupted(f"no connection to {urlsplit(url).netloc} ({kind})") from None
        except requests.RequestException as error:
            raise _MirrorFailed(f"{type(error).__name__}: {error}") from None
        except urllib3.exceptions.HTTPError:
            raise _Interrupted(f"the connection was cut after {self._size} bytes") from None

    def _receive(self, response: requests.Response, url: str) -> None:
        """Append the body, or begin anew with it where the server does not continue."""
        headers = response.headers
        span = headers.get("Content-Range", "")
        if response.status_code == 416 and span == f"bytes */{self._size}":
            return  # nothing is left to send
        continues = response.status_code == 206 and span.startswith(f"bytes {self._size}-")
        if not continues and response.status_code != 200:
            self._restart()
            raise _Interrupted("the server does not continue where the transfer stopped")
        announced = span.rpartition("/")[2] if continues else headers.get("Content-Length", "")
        total = self._find_total(announced, is_chunked="Transfer-Encoding" in headers)
        if continues:
            self._is_mixed = True
        else:
            tag = headers.get("ETag", "")  # a weak one (W/) does not stand for the exact bytes
            is_strong = tag and not tag.startswith("W/")
            self._restart(url, tag if is_strong else headers.get("Last-Modified", ""))
        self._check_space(total)
        label = f"fetching {self._artefact.file_name}"
        missing_mib = None if total is None else math.ceil((total - self._size) / _MIB)
        for _ in track(self._append(response, total), label=label, total=missing_mib, unit="MiB"):
            pass
        if total is not None and self._size < total:
            raise _Interrupted(f"the connection was cut after {self._size} of {total} bytes")

    def _find_total(self, announced: str, *, is_chunked: bool) -> int | None:
        """Return the size of the whole file; None if only the end of the body will tell."""
        size = self._artefact.size
        if announced.isdecimal():
            if size not in (None, int(announced)):
                raise _MirrorFailed(f"offers {announced} bytes instead of {size}")
            return int(announced)
        if size is None and not self._artefact.checksums and not is_chunked:
            raise _MirrorFailed("announces no size, so that a cut could not be noticed")
        return size

    def _append(self, response: requests.Response, total: int | None) -> Iterator[None]:
        """Append the body; yield once for every MiB that is begun."""
        begun = received = 0
        # Not decoded: a server that calls a .tgz "Content-Encoding: gzip" must not get it unpacked.
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            if total is not None and self._size + len(chunk) > total:
                self._restart()
                raise _MirrorFailed(f"sends more than {total} bytes")
            self._file.write(chunk)
            self._file.flush()
            received += len(chunk)
            while begun * _MIB < received:
                begun += 1
                yield


def _request(
    session: requests.Session, url: str, headers: dict[str, str | None], file_name: str
) -> requests.Response:
    """Return a response that brings the file, not a page about it as Google Drive sends first."""
    is_page_wanted = file_name.endswith((".html", ".htm"))
    for _ in range(3):
        response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S)
        content_type = response.headers.get("Content-Type", "").lower()
        is_page = content_type.startswith("text/html") and not is_page_wanted
        page = ""
        if is_page:
            with response:
                page = response.raw.read(_MIB, decode_content=True).decode("utf-8", "replace")
        if any(phrase in " ".join(page.lower().split()) for phrase in _QUOTA_PHRASES):
            raise _MirrorFailed(_QUOTA)
        _check_status(response)
        if not is_page:
            return response
        url = _find_confirmation(page, response.url)
    raise _MirrorFailed("answers with one web page after another instead of the file")


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status not in (200, 206, 416):
        response.close()
        may_pass = status in (408, 425, 429) or status >= 500
        raise (_Interrupted if may_pass else _MirrorFailed)(f"HTTP {status} {response.reason}")


def _find_confirmation(page: str, url: str) -> str:
    """Return the address behind Google Drive's "download anyway", or say what the page means."""
    host = urlsplit(url).hostname or ""
    if host == "accounts.google.com":
        raise _MirrorFailed("asks for a login; the file is not public")
    address = _confirmation_address(page)
    if address is None:
        raise _MirrorFailed("answers with a web page instead of the file")
    address = urlsplit(urljoin(url, address))
    known = (address.hostname or "").endswith((".google.com", ".googleusercontent.com"))
    if address.scheme not in ("http", "https") or not (known or address.hostname == host):
        raise _MirrorFailed("answers with a page that leads elsewhere")
    return address.geturl()


def _confirmation_address(page: str) -> str | None:
    """Return the target of the form (today's pages) or link (older ones) that confirms."""
    forms: list[tuple[str, dict[str, str]]] = []  # action, hidden fields
    links = []

    def take(tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "form":
            forms.append((values.get("action", ""), {}))
        elif tag == "input" and forms and values.get("type") == "hidden":
            forms[-1][1][values.get("name", "")] = values.get("value", "")
        elif tag == "a":
            links.append(values.get("href", ""))

    parser = html.parser.HTMLParser()
    parser.handle_starttag = take
    parser.feed(page)
    links += [
        f"{action}{'&' if '?' in action else '?'}{urlencode(fields)}" for action, fields in forms
    ]
    return next((link for link in links if re.search(r"[?&]confirm=", link)), None)
