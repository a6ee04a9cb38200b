"""One image of a source, and how a worker process gets at its bytes."""

import functools
import os
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dnnlib.image_files import ImageError

STORED, DEFLATED = 0, 8  # methods of zip files


class Reference(Protocol):
    """Where an image is; small, so that it can be sent to another process."""

    def load(self) -> bytes | np.ndarray:
        """Return the bytes of an image file, or pixels [H, W] or [H, W, C] uint8."""


@dataclass(frozen=True)
class Item:
    """An image of a source. `label`: what the source itself knows, if it does."""

    name: str  # path inside the source, with "/"
    content: Reference
    label: np.ndarray | None = None  # [label_dim] float32


@dataclass(frozen=True)
class Unusable:
    """An image of which it is known beforehand that it cannot be used."""

    reason: str

    def load(self) -> bytes:
        """Say why."""
        raise ImageError(self.reason)


@dataclass(frozen=True)
class WholeFile:
    """An image file."""

    path: str

    def load(self) -> bytes:
        """Read the file."""
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class FileSlice:
    """An image file inside a tar file."""

    path: str
    offset: int
    size: int

    def load(self) -> bytes:
        """Read the part of the archive."""
        return read_slice(self.path, self.offset, self.size)


@dataclass(frozen=True)
class ZipEntry:
    """An image file inside a zip file, read without looking at the list of its entries again."""

    path: str
    header: int  # where its local header starts
    stored_bytes: int
    method: int
    crc: int

    def load(self) -> bytes:
        """Read and unpack the entry."""
        fixed = read_slice(self.path, self.header, 30)
        variable = int.from_bytes(fixed[26:28], "little") + int.from_bytes(fixed[28:30], "little")
        content = read_slice(self.path, self.header + 30 + variable, self.stored_bytes)
        if self.method == DEFLATED:
            try:
                content = zlib.decompress(content, wbits=-15)
            except zlib.error as error:
                raise ImageError("damaged (the archive's entry does not unpack)") from error
        elif self.method != STORED:
            raise ImageError(f"packed with method {self.method}; only deflate is read")
        if zlib.crc32(content) != self.crc:
            raise ImageError("damaged (the archive's checksum disagrees)")
        return content


def read_slice(path: str, offset: int, size: int) -> bytes:
    """Read `size` bytes of a file that stays open for the next time."""
    content = os.pread(_descriptor(path), size, offset)
    if len(content) != size:
        raise ImageError("cut off (the archive ends before)")
    return content


@functools.lru_cache(maxsize=4)
def _descriptor(path: str) -> int:
    return os.open(path, os.O_RDONLY)
