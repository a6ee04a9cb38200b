"""Images inside a zip or tar file, read in place."""

import bz2
import functools
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from datasets.sources.item import FileSlice, Item, ZipEntry
from datasets.sources.source import Source, file_identity, may_be_image
from dnnlib.errors import UserError
from dnnlib.files import atomic_file

_PACKERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class Archive(Source):
    """The files of an archive, in the order of their sorted names."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._entries = self._list()  # name -> Reference, sorted by name

    def _list(self) -> dict[str, ZipEntry | FileSlice]:
        raise NotImplementedError

    @functools.cached_property
    def count(self) -> int:
        """Files that may be images."""
        return sum(1 for name in self._entries if may_be_image(name))

    def items(self) -> Iterator[Item]:
        """Yield all files that may be images."""
        for name, entry in self._entries.items():
            if may_be_image(name):
                yield Item(name, entry)

    def read_text(self, name: str) -> bytes | None:
        """Return the content of a file of the archive."""
        return self._entries[name].load() if name in self._entries else None

    def other_files(self, suffix: str) -> list[str]:
        """Return the names of files that end in `suffix` and are no images."""
        return [name for name in self._entries if name.endswith(suffix) and not may_be_image(name)]

    def holds(self, wanted: Callable[[str], bool]) -> bool:
        """Say whether a file with a wanted name (without folders) is in the archive."""
        return any(wanted(name.rpartition("/")[2]) for name in self._entries)

    def identity(self) -> str:
        """Return a digest of the size and the ends of the archive."""
        return file_identity(self.path)


class ZipArchive(Archive):
    """A zip file."""

    kind = "zip"

    def _list(self) -> dict[str, ZipEntry]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise UserError(f"{self.path}: damaged zip file ({error}); get it again") from error
        if any(entry.flag_bits & 1 for entry in entries):
            raise UserError(f"{self.path}: protected by a password; unpack it and give the folder")
        entries.sort(key=lambda entry: entry.filename)
        path = str(self.path)
        return {
            entry.filename: ZipEntry(
                path, entry.header_offset, entry.compress_size, entry.compress_type, entry.CRC
            )
            for entry in entries
        }


class TarArchive(Archive):
    """A tar file. A packed one is unpacked to a plain one in `workspace` first."""

    kind = "tar"

    def __init__(self, path: Path, workspace: Path):
        self.plain = _plain_tar(Path(path), workspace)
        super().__init__(path)

    def _list(self) -> dict[str, FileSlice]:
        try:
            with tarfile.open(self.plain, "r:") as archive:
                members = [member for member in archive if member.isreg()]
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{self.path}: damaged tar file ({error}); get it again") from error
        members.sort(key=lambda member: member.name)
        path = str(self.plain)
        return {
            member.name.removeprefix("./"): FileSlice(path, member.offset_data, member.size)
            for member in members
        }


def is_tar(path: Path) -> bool:
    """Say whether a file is a tar file, packed or not, by its content."""
    try:
        return tarfile.is_tarfile(path)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return False


def _plain_tar(path: Path, workspace: Path) -> Path:
    with open(path, "rb") as file:
        start = file.read(6)
    packer = next((opener for mark, opener in _PACKERS.items() if start.startswith(mark)), None)
    if packer is None:
        return path
    plain = workspace / f"source-{file_identity(path)[:16]}.tar"
    if plain.exists():
        return plain
    try:
        with packer(path, "rb") as packed, atomic_file(plain) as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged archive ({error}); get it again") from error
    return plain
