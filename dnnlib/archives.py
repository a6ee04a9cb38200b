"""Safe unpacking of zip and tar archives that come from elsewhere.

Ours around zipfile and tarfile, because the latter takes a damaged header for the archive's end,
and neither bounds what is unpacked.
"""

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from dnnlib.errors import MissingFile, UserError
from dnnlib.files import sync_directory

_MIB = 2**20
_CHUNK_BYTES = 2**16
_MAX_ENTRIES = 2_000_000
_MAX_PADDING_MIB = 16
DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
# What tarfile, zipfile and the decompressors raise for damaged input, besides OSError.
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)

_Entry = tuple[str, IO[bytes] | None]  # name, content; None for a directory


def extract(archive: str | Path, directory: str | Path, *, max_bytes: int) -> Path:
    """Unpack a zip or tar archive (plain, gz, bz2, xz) into `directory` and return its path.

    `directory` must be new or empty; it appears only when everything is unpacked. Only files and
    directories are accepted: no links or devices, no names that lead out of `directory`, no name
    twice, and no more than `max_bytes` bytes in all, whatever the archive claims.
    """
    archive, directory = Path(archive), Path(directory)
    if not archive.is_file():
        raise MissingFile(f"{archive}: no such file; check the path")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory}: already there and not an empty directory; choose another")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _unpack(archive, temporary, max_bytes)
        os.sync()  # one call for all files; a call for each of 100,000 takes minutes
        os.replace(temporary, directory)
        sync_directory(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def _unpack(archive: Path, directory: Path, max_bytes: int) -> None:
    left, name = max_bytes, None
    try:
        for number, (name, content) in enumerate(_entries(archive)):
            if number == _MAX_ENTRIES:
                raise UserError(f"more than {_MAX_ENTRIES} entries")
            path = directory / _safe_path(name)
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            left -= _write_file(path, content, left)
            if left < 0:
                raise UserError(f"unpacks to more than the {max_bytes} bytes expected")
        if name is None:
            raise UserError("an empty archive; fetch it again")
    except UserError as error:
        raise UserError(f"{archive}: {error}") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise UserError(f"{archive}: holds the name {_printable(name)} twice") from None
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk and the like; decompressors raise OSError without a number
        raise UserError(
            f"{archive}: not a zip or tar archive, or a damaged one ({_printable(str(error))}); "
            "fetch it again"
        ) from None


def _entries(archive: Path) -> Iterator[_Entry]:
    with open(archive, "rb") as file:
        head = file.read(6)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_entries(archive)
    openers = (opener for start, opener in DECOMPRESSORS.items() if head.startswith(start))
    return _tar_entries(archive, next(openers, open))


def _zip_entries(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"holds a link or device, {_printable(info.filename)}")
            if info.flag_bits & 1:
                raise UserError("is encrypted; unpack it by hand")
            yield info.filename, None if info.is_dir() else opened.open(info)


def _tar_entries(archive: Path, opener: Callable[..., IO[bytes]]) -> Iterator[_Entry]:
    with opener(archive, "rb") as file:
        for info, opened in read_tar(file):
            if not info.isreg() and not info.isdir():
                raise UserError(f"holds a link or device, {_printable(info.name)}")
            yield info.name, None if info.isdir() else opened.extractfile(info)


def read_tar(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield (entry, archive) for all entries of an unpacked tar, up to its very end.

    Raises one of DAMAGE where something is wrong, also where tarfile would stop without a word.
    """
    with tarfile.open(fileobj=_SmallReads(file), mode="r:") as opened:
        while (info := opened.next()) is not None:
            opened.members.clear()  # tarfile keeps all headers otherwise
            yield info, opened
    file.seek(opened.offset)
    _check_end(file)


class _SmallReads:
    """A file that refuses to read much at once: a header must not claim gigabytes of memory."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MIB:
            raise tarfile.ReadError("absurd header")
        return self._file.read(size)


def _check_end(file: IO[bytes]) -> None:
    """Distinguish the end of a tar from a broken header, which tarfile takes for the end, too.

    file: at the block where tarfile stopped. Raises tarfile.ReadError where that is no end mark,
    or where something follows it. Reading all makes a decompressor compare its checksum.
    """
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("a damaged header, or cut short")
    for _ in range(_MAX_PADDING_MIB):
        padding = file.read(_MIB)
        if padding.strip(b"\0"):
            raise tarfile.ReadError("something follows its end mark; are several tar files joined?")
        if not padding:
            return
    raise tarfile.ReadError("absurd padding")


def _safe_path(name: str) -> PurePosixPath:
    """Return the relative path of an entry, refusing every name that leads elsewhere."""
    path = PurePosixPath(name)
    unusual = re.search(r"[\x00-\x1f\x7f\\]|^[A-Za-z]:", name) or len(name) > 1000
    too_long = any(len(os.fsencode(part)) > 255 for part in path.parts)
    if unusual or too_long or path.is_absolute() or ".." in path.parts:
        raise UserError(f"holds the unsafe name {_printable(name)}; nothing was unpacked")
    return path


def _write_file(path: Path, content: IO[bytes], limit: int) -> int:
    """Copy an entry into a new file, at most one chunk beyond `limit`; return its size."""
    written = 0
    with content, open(path, "xb") as file:
        while written <= limit and (chunk := content.read(_CHUNK_BYTES)):
            file.write(chunk)
            written += len(chunk)
    return written


def _printable(text: str) -> str:
    return ascii(text)[1:-1][:120]
