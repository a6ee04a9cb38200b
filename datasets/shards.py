"""Record files: their names, where each record lies in them, and reading any record."""

import mmap
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.records import (
    FOOTER_BYTES,
    HEADER_BYTES,
    RecordError,
    parse_message,
    read_header,
    unframe,
)
from dnnlib.errors import UserError

_FILE_NAME = re.compile(
    r"(?P<name>.+)-r(?P<level>\d\d)\.tfrecords(?:(?P<number>\d+)of(?P<total>\d+))?"
)
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES


def shard_file(name: str, level: int, number: int, total: int) -> str:
    """Return `NAME-rRR.tfrecordsIofN`; level: log2 of the resolution, number from 1."""
    return f"{name}-r{level:02d}.tfrecords{number}of{total}"


def is_record_file(name: str) -> bool:
    """Say whether a file has the name of a shard."""
    return _FILE_NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Level:
    """All shards of one resolution, in order."""

    name: str
    level: int  # log2 of the resolution
    files: list[Path]

    @property
    def resolution(self) -> int:
        """Width and height of the images."""
        return 1 << self.level


def find_levels(directory: Path) -> list[Level]:
    """Return the complete sets of shards in a directory, smallest resolution first."""
    found: dict[tuple[str, int, int], dict[int, Path]] = {}
    for path in sorted(directory.iterdir()):
        match = _FILE_NAME.fullmatch(path.name)
        if match:
            total = int(match["total"] or 1)
            shards = found.setdefault((match["name"], int(match["level"]), total), {})
            shards[int(match["number"] or 1)] = path
    for (name, level, total), shards in found.items():
        missing = [number for number in range(1, total + 1) if number not in shards]
        if missing:
            raise UserError(
                f"{directory}: {len(missing)} of {total} record files are missing, the first is "
                f"{shard_file(name, level, missing[0], total)}; copy them here or prepare the data "
                "set again"
            )
    levels = [
        Level(name, level, [shards[number] for number in sorted(shards)])
        for (name, level, _), shards in found.items()
    ]
    return sorted(levels, key=lambda each: each.level)


class RecordFile:
    """A TFRecord file with random access to its records."""

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self.offsets, self.lengths = _index(self.path)  # of the messages, [count] int64
        except RecordError as error:
            if packing := _packing(self.path):
                raise UserError(
                    f"{self.path}: record file packed with {packing}; unpack it first (single "
                    "records are read in any order)"
                ) from error
            raise UserError(_damaged(self.path, str(error))) from error
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, number: int, *, check: bool = False) -> bytes:
        """Return the message of record `number`; with `check` its checksum is compared too."""
        framed_bytes = int(self.lengths[number]) + FRAME_BYTES
        start = int(self.offsets[number]) - HEADER_BYTES
        framed = os.pread(self._open(), framed_bytes, start)
        try:
            return unframe(framed, check_message=check)
        except RecordError as error:
            raise UserError(_damaged(self.path, f"record {number}: {error}")) from error

    def read_features(self, number: int, *, check: bool = False) -> dict[str, bytes | np.ndarray]:
        """Return the features of record `number`."""
        try:
            return parse_message(self.read(number, check=check))
        except RecordError as error:
            raise UserError(_damaged(self.path, f"record {number}: {error}")) from error

    def close(self) -> None:
        """Give the file back to the system; reading opens it again."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            with self._lock:
                if self._descriptor is None:
                    self._descriptor = os.open(self.path, os.O_RDONLY)
        return self._descriptor

    def __del__(self, close=os.close):  # at exit, `os` may be gone before this object
        if getattr(self, "_descriptor", None) is not None:
            close(self._descriptor)


def _damaged(path: Path, what: str) -> str:
    return f"{path}: damaged ({what}); copy the file again or prepare the data set again"


def _packing(path: Path) -> str | None:
    """Return how a file is packed, as TensorFlow's TFRecordOptions does it, by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start == b"\x1f\x8b":
        return "gzip"
    is_zlib = len(start) == 2 and start[0] == 0x78 and int.from_bytes(start, "big") % 31 == 0
    return "zlib" if is_zlib else None


def _index(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return where the message of each record starts and how long it is."""
    size = path.stat().st_size
    if size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _index_equal(content, size) or _index_any(content, size)


def _index_equal(content: mmap.mmap, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Index a file whose records are all of one length (raw images are); None if they are not."""
    length = read_header(content[:HEADER_BYTES])
    stride = length + FRAME_BYTES
    if size % stride:
        return None
    count = size // stride
    header = np.dtype([("length", "<u8"), ("checksum", "<u4")])
    headers = np.ndarray((count,), header, buffer=content, strides=(stride,))
    same = bool((headers == headers[0]).all())
    del headers  # the file cannot be closed while the array looks at it
    if not same:
        return None
    offsets = np.arange(count, dtype=np.int64) * stride + HEADER_BYTES
    return offsets, np.full(count, length, np.int64)


def _index_any(content: mmap.mmap, size: int) -> tuple[np.ndarray, np.ndarray]:
    offsets, lengths, place = [], [], 0
    while place < size:
        try:
            length = read_header(content[place : place + HEADER_BYTES])
            if place + length + FRAME_BYTES > size:
                raise RecordError("the record is cut off")
        except RecordError as error:
            raise RecordError(f"record {len(offsets)}: {error}") from error
        offsets.append(place + HEADER_BYTES)
        lengths.append(length)
        place += length + FRAME_BYTES
    return np.array(offsets, np.int64), np.array(lengths, np.int64)
