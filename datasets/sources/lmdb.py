"""Images in an LMDB database, as LSUN is published: a read-only walk through its B+ tree.

The file format (version 1, 64 bits, little-endian) is that of OpenLDAP's mdb.c. Read here and not
with the lmdb package, because that trusts the page numbers in the file: a database that was cut off
or damaged ends the whole process with SIGBUS (29 of 80 in a trial with lmdb 3.0.0), and no line can
be printed. Here every place is compared with the file's size. Each image is one stretch of bytes in
the file, which worker processes read like a part of an archive.
"""

import functools
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.sources.item import FileSlice, Item
from datasets.sources.source import Source, file_identity, state_of
from dnnlib.errors import UserError

DATA_FILE = "data.mdb"
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_PAGE_HEADER_BYTES = 16
_BRANCH, _LEAF, _META = 1, 2, 8  # kinds of pages
_BIG_VALUE, _SUB_DATABASE, _DUPLICATES = 1, 2, 4  # kinds of nodes
_NO_PAGE = 2**64 - 1
_DEEPEST = 32
# Rosinality's layout: keys such as 128-00007, several sizes of each number, and `length`.
_SIZED_KEY = re.compile(r"(?P<size>[1-9]\d*)-(?P<number>\d{5,})")
_LENGTH_KEY = "length"
_MOST_OTHER_KEYS = 10  # with more of them it is another layout


@dataclass(frozen=True)
class _Tree:
    """What the newest meta page says."""

    transaction: int
    page_bytes: int
    root: int
    entries: int


class LmdbDatabase(Source):
    """The values of a database, in the order of its keys."""

    kind = "lmdb"

    def __init__(self, path: Path):
        super().__init__(path)
        self._file = path / DATA_FILE if path.is_dir() else path
        with open(self._file, "rb") as file:
            self._tree = _read_meta(self._file, file.read(2 * 65536))
        self._largest: dict[str, int] = {}  # size by number of the image; empty: all are images
        sizes = self._find_sizes()
        if len(sizes) > 1:
            self.remarks.append(
                f"holds images in several sizes ({', '.join(map(str, sorted(sizes)))}); the "
                "largest of each is read"
            )

    @functools.cached_property
    def count(self) -> int:
        """How many images there are."""
        return sum(1 for _ in self.items()) if self._largest else self._tree.entries

    def items(self) -> Iterator[Item]:
        """Yield all images, in the order of their keys."""
        for item in self._values():
            match = _SIZED_KEY.fullmatch(item.name) if self._largest else None
            if match and int(match["size"]) < self._largest[match["number"]]:
                continue
            if not self._largest or item.name != _LENGTH_KEY:
                yield item

    def _find_sizes(self) -> set[int]:
        """Return the sizes in which images are there, if these are in the keys; note the largest.

        Keys that only look so are those of other databases: of theirs none is left out.
        """
        largest: dict[str, int] = {}
        sizes, others = set(), []
        for item in self._values():
            if match := _SIZED_KEY.fullmatch(item.name):
                size = int(match["size"])
                sizes.add(size)
                largest[match["number"]] = max(size, largest.get(match["number"], 0))
            else:
                others.append(item.name)
                if len(others) > _MOST_OTHER_KEYS:
                    return set()
        if _LENGTH_KEY not in others and not all(_is_usual(size) for size in sizes):
            return set()
        self._largest = largest
        return sizes

    def _values(self) -> Iterator[Item]:
        """Yield all values, in the order of their keys."""
        if self._tree.root == _NO_PAGE:
            return
        with (
            open(self._file, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = 0
            try:
                for item in self._walk(content, self._tree.root, 0):
                    found += 1
                    if found > self._tree.entries:
                        break
                    yield item
            except (struct.error, IndexError) as error:
                raise self._damaged("a page lies outside of the file") from error
            if found != self._tree.entries:
                raise self._damaged(f"not the {self._tree.entries:,} entries that it should have")

    def identity(self) -> str:
        """Return a digest of the size and the ends of the file."""
        return file_identity(self._file)

    def state(self) -> str:
        """Return a digest of size and times."""
        return state_of([self._file if self.path.is_dir() else self.path])

    def _walk(self, content: mmap.mmap, page: int, depth: int) -> Iterator[Item]:
        start = page * self._tree.page_bytes
        number, _, flags, lower, _ = struct.unpack_from("<QHHHH", content, start)
        if number != page or depth > _DEEPEST or not flags & (_BRANCH | _LEAF):
            raise self._damaged(f"page {page}")
        nodes = (lower - _PAGE_HEADER_BYTES) // 2
        for place in struct.unpack_from(f"<{nodes}H", content, start + _PAGE_HEADER_BYTES):
            low, high, kind, key_bytes = struct.unpack_from("<HHHH", content, start + place)
            if flags & _BRANCH:
                yield from self._walk(content, low | high << 16 | kind << 32, depth + 1)
                continue
            if kind & (_SUB_DATABASE | _DUPLICATES):
                raise UserError(
                    f"{self._file}: holds databases inside a database, which is not LSUN's layout; "
                    "export its images to a folder"
                )
            key = content[start + place + 8 : start + place + 8 + key_bytes]
            value = start + place + 8 + key_bytes
            if kind & _BIG_VALUE:
                (overflow,) = struct.unpack_from("<Q", content, value)
                value = overflow * self._tree.page_bytes + _PAGE_HEADER_BYTES
            size = low | high << 16
            if value + size > len(content):
                raise self._damaged(f"the value of {_printable(key)} lies outside of the file")
            yield Item(_printable(key), FileSlice(str(self._file), value, size))

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._file}: damaged LMDB database ({what}); get it again")


def is_lmdb(path: Path) -> bool:
    """Say whether a file, or a folder with a data.mdb, is an LMDB database."""
    file = path / DATA_FILE if path.is_dir() else path
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        start = opened.read(_PAGE_HEADER_BYTES + 4)
    return start[_PAGE_HEADER_BYTES:] == struct.pack("<I", _MAGIC)


def _read_meta(path: Path, start: bytes) -> _Tree:
    """Return the newer of the two meta pages."""
    trees = []
    first = _parse_meta(start, 0)
    if first is not None:
        trees = [first, _parse_meta(start, first.page_bytes)]
    trees = [tree for tree in trees if tree is not None]
    if not trees:
        raise UserError(f"{path}: no LMDB database of version {_VERSION}; get it again")
    return max(trees, key=lambda tree: tree.transaction)


def _parse_meta(start: bytes, place: int) -> _Tree | None:
    """Parse one meta page.

    Page header, magic, version, address, map size, the databases of free and of used pages (page
    size, flags, depth, three page counts, entries, root), last page, transaction.
    """
    try:
        flags = struct.unpack_from("<QHH", start, place)[2]
        magic, version = struct.unpack_from("<II", start, place + 16)
        (page_bytes,) = struct.unpack_from("<I", start, place + 40)  # in the list of free pages
        entries, root = struct.unpack_from("<QQ", start, place + 120)
        (transaction,) = struct.unpack_from("<Q", start, place + 144)
    except struct.error:
        return None
    if not flags & _META or (magic, version) != (_MAGIC, _VERSION) or page_bytes < 512:
        return None
    return _Tree(transaction, page_bytes, root, entries)


def _is_usual(size: int) -> bool:
    return size >= 16 and size & (size - 1) == 0


def _printable(key: bytes) -> str:
    return key.decode() if key.isascii() and key.decode().isprintable() else key.hex()
