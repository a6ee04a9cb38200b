"""Images inside a zip or tar file, read in place.

Every entry is used, or it is named and counted; a damaged archive is an error, whatever packs it.
"""

import functools
import lzma
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from datasets.sources.item import FileSlice, Item, Unusable, ZipEntry
from datasets.sources.source import Source, file_identity
from dnnlib.archives import DAMAGE, DECOMPRESSORS, read_tar
from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from dnnlib.image_files import ImageError
from dnnlib.image_folders import may_be_image, printable, reason_to_leave_aside

_PACKERS = {**DECOMPRESSORS, b"\x5d\x00\x00": lzma.open}  # the last: .lzma
_MOST_TEXT_BYTES = 1 << 30
_MOST_LINKS = 40  # that lead to one another, as in Linux
_END_OF_ZIP = b"PK\5\6"
_OTHER_ENTRIES = {  # of a tar, by type
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    b"V": "the label of the archive",
    b"D": "a list of a folder",
}

Reference = ZipEntry | FileSlice | Unusable


class Archive(Source):
    """The files of an archive, in the order of their sorted names."""

    def __init__(self, path: Path):
        super().__init__(path)
        entries = _Entries()
        try:
            self._list(entries)
        except UserError:
            raise
        except (*DAMAGE, OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError(
                f"{self.path}: damaged {self.kind} file ({error or type(error).__name__}); get it "
                "again"
            ) from error
        self._entries = entries.in_order()
        for name in self._entries:
            if reason := reason_to_leave_aside(name):
                self.left_aside.add(reason, name)
        if entries.replaced:
            self.remarks.append(
                f"{len(entries.replaced):,} entries are there more than once, such as "
                f"{printable(entries.replaced[0])}; the last one of each is used"
            )

    def _list(self, entries: "_Entries") -> None:
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
        entry = self._entries.get(name)
        if entry is None:
            return None
        if isinstance(entry, Unusable) or entry.size > _MOST_TEXT_BYTES:
            raise ImageError(f"{name} cannot be read")
        return entry.read()

    def other_files(self, suffix: str) -> list[str]:
        """Return the names of files that end in `suffix` and are no images."""
        return [name for name in self._entries if name.endswith(suffix) and not may_be_image(name)]

    def holds(self, wanted: Callable[[str], bool]) -> bool:
        """Say whether a file with a wanted name (without folders) is in the archive."""
        return any(wanted(name.rpartition("/")[2]) for name in self._entries)

    def identity(self) -> str:
        """Return a digest of the size and the ends of the archive."""
        return file_identity(self.path)


class _Entries:
    """The files of an archive by name, while they are found."""

    def __init__(self):
        self.replaced: list[str] = []  # names that came again
        self._files: dict[str, Reference] = {}
        self._links: dict[str, str] = {}  # to the path of the target inside the archive
        self._stored_names: dict[str, str] = {}

    def add(self, stored_name: str, entry: Reference) -> None:
        """Take a file in."""
        name = self._choose_name(stored_name)
        self._links.pop(name, None)
        self._files[name] = entry

    def add_link(self, stored_name: str, target: str) -> None:
        """Take a link in; target: a path inside the archive."""
        name = self._choose_name(stored_name)
        self._files.pop(name, None)
        self._links[name] = _inside_name(posixpath.normpath(target))

    def add_hard_link(self, stored_name: str, target: str) -> None:
        """Take in another name of a file, as that is now; of one that comes later, as a link."""
        known = self._files.get(_inside_name(posixpath.normpath(target)))
        if known is None:
            self.add_link(stored_name, target)
        else:
            self.add(stored_name, known)

    def in_order(self) -> dict[str, Reference]:
        """Return all files, links as what they lead to, sorted by name."""
        found = dict(self._files)
        for name, target in self._links.items():
            end, steps = target, 0
            while end in self._links and steps < _MOST_LINKS:
                end, steps = self._links[end], steps + 1
            found[name] = self._files.get(end) or Unusable(
                f"a link to {printable(target)}, which is no file of the archive"
            )
        return dict(sorted(found.items()))

    def _choose_name(self, stored_name: str) -> str:
        """Return the name of an entry: the same for entries that would become one file."""
        name = _inside_name(stored_name)
        known = self._stored_names.setdefault(name, stored_name)
        if known != stored_name and _plain(known) != _plain(stored_name):
            name = stored_name  # a\b beside a/b: two files
        elif name in self._files or name in self._links:
            self.replaced.append(name)
        return name


def _plain(name: str) -> str:
    return name[2:] if name.startswith("./") else name


def _inside_name(name: str) -> str:
    """Return a name with "/" between its parts (some Windows programs write "\\"), without "./"."""
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name.lstrip("/") or name


class ZipArchive(Archive):
    """A zip file."""

    kind = "zip"

    def _list(self, entries: _Entries) -> None:
        with zipfile.ZipFile(self.path) as archive:
            listed = archive.infolist()
        if any(entry.flag_bits & 1 for entry in listed):
            raise UserError(f"{self.path}: protected by a password; unpack it and give the folder")
        _compare_count(self.path, len(listed))
        for entry in listed:
            if entry.is_dir() or entry.orig_filename.endswith("\\"):
                continue
            # orig_filename: zipfile ends names at a NUL byte and changes separators
            self._add(entries, entry)

    def _add(self, entries: _Entries, entry: zipfile.ZipInfo) -> None:
        content = ZipEntry(
            str(self.path),
            entry.header_offset,
            entry.compress_size,
            entry.compress_type,
            entry.CRC,
            entry.file_size,
        )
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind == stat.S_IFLNK and entry.create_system == 3 and entry.file_size < 4096:
            try:
                target = content.read().decode(errors="surrogateescape")
            except ImageError as error:
                entries.add(entry.filename, Unusable(f"a link that cannot be read: {error}"))
                return
            folder = _inside_name(entry.filename).rpartition("/")[0]
            entries.add_link(entry.filename, posixpath.join(folder, target))
        else:
            entries.add(entry.filename, content)


def _compare_count(path: Path, found: int) -> None:
    """Raise zipfile.BadZipFile if a zip's list is shorter than its end says."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - 22))
        end = file.read()
    place = end.rfind(_END_OF_ZIP)
    if place >= 0 and len(end) >= place + 22:
        said = int.from_bytes(end[place + 10 : place + 12], "little")
        if said not in (found & 0xFFFF, 0xFFFF):
            raise zipfile.BadZipFile(f"{found} entries where its end says {said}")


class TarArchive(Archive):
    """A tar file. A packed one is unpacked to a plain one in `workspace` first."""

    kind = "tar"

    def __init__(self, path: Path, workspace: Path):
        self.plain = _plain_tar(Path(path), workspace)
        super().__init__(path)

    def _list(self, entries: _Entries) -> None:
        plain = str(self.plain)
        with open(self.plain, "rb") as file:
            for member, _ in read_tar(file):
                if member.isdir():
                    continue
                if member.issparse():
                    entries.add(member.name, Unusable("a sparse file; unpack the archive"))
                elif member.isreg():
                    entries.add(member.name, FileSlice(plain, member.offset_data, member.size))
                elif member.islnk():
                    entries.add_hard_link(member.name, member.linkname)
                elif member.issym():
                    folder = _inside_name(member.name).rpartition("/")[0]
                    entries.add_link(member.name, posixpath.join(folder, member.linkname))
                else:
                    kind = _OTHER_ENTRIES.get(member.type, f"of type {member.type!r}")
                    entries.add(member.name, Unusable(f"{kind}, no file"))


def is_packed(path: Path) -> bool:
    """Say whether a file begins as gzip, bzip2, xz and lzma files do."""
    return _packer(path) is not None


def is_tar(path: Path) -> bool:
    """Say whether a file is a tar file, packed or not, by its content."""
    try:
        return tarfile.is_tarfile(path)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return False


def _packer(path: Path) -> Callable | None:
    with open(path, "rb") as file:
        start = file.read(6)
    return next((opener for mark, opener in _PACKERS.items() if start.startswith(mark)), None)


def _plain_tar(path: Path, workspace: Path) -> Path:
    packer = _packer(path)
    if packer is None:
        return path
    plain = workspace / f"source-{file_identity(path)[:16]}.tar"
    if plain.exists():
        return plain
    try:
        with packer(path, "rb") as packed, atomic_file(plain) as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk; decompressors raise OSError without a number
        raise UserError(f"{path}: damaged archive ({error}); get it again") from error
    if not is_tar(plain):
        plain.unlink()
        raise UserError(
            f"{path}: a packed file that holds no tar archive, or a damaged one; unpack it by hand "
            "and give what is in it"
        )
    return plain
