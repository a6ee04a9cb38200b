"""One image of a source, and how a worker process gets at its bytes."""

import functools
import os
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dnnlib.image_files import HEAD_BYTES, ImageError, require_image

STORED, DEFLATED = 0, 8  # methods of zip files
MOST_BYTES = 2**31  # of a file, unless something else is said
LARGE_BYTES = 2**20  # at smaller files only decoding looks


class Reference(Protocol):
    """Where an image is; small, so that it can be sent to another process."""

    def load(self, most_bytes: int = MOST_BYTES) -> bytes | np.ndarray:
        """Return the bytes of an image file, or pixels [H, W] or [H, W, C] uint8.

        Of a large file the first bytes are looked at before the rest is read: ImageError if it is
        no image, or larger than `most_bytes`.
        """


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

    def load(self, most_bytes: int = MOST_BYTES) -> bytes:
        """Say why."""
        raise ImageError(self.reason)


@dataclass(frozen=True)
class WholeFile:
    """An image file."""

    path: str

    def load(self, most_bytes: int = MOST_BYTES) -> bytes:
        """Read the file."""
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > LARGE_BYTES:
                    require_image(file.read(HEAD_BYTES), size, most_bytes)
                    file.seek(0)
                return file.read()
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class FileSlice:
    """An image file inside a tar file."""

    path: str
    offset: int
    size: int

    def load(self, most_bytes: int = MOST_BYTES) -> bytes:
        """Read the part of the archive."""
        if self.size > LARGE_BYTES:
            require_image(self.read(HEAD_BYTES), self.size, most_bytes)
        return self.read()

    def read(self, most: int | None = None) -> bytes:
        """Return the part of the archive, or its first bytes, whatever they are."""
        size = self.size if most is None else min(most, self.size)
        return read_slice(self.path, self.offset, size)


@dataclass(frozen=True)
class ZipEntry:
    """An image file inside a zip file, read without looking at the list of its entries again."""

    path: str
    header: int  # where its local header starts
    stored_bytes: int
    method: int
    crc: int
    size: int  # unpacked

    def load(self, most_bytes: int = MOST_BYTES) -> bytes:
        """Read and unpack the entry."""
        if self.size > LARGE_BYTES:
            require_image(self.read(HEAD_BYTES), self.size, most_bytes)
        return self.read()

    def read(self, most: int | None = None) -> bytes:
        """Return the content (its checksum is compared then), or its first bytes."""
        if self.method not in (STORED, DEFLATED):
            raise ImageError(f"packed with method {self.method}; only deflate is read")
        fixed = read_slice(self.path, self.header, 30)
        if not fixed.startswith(b"PK\3\4"):
            raise ImageError("damaged (the archive has no entry where its list says)")
        variable = int.from_bytes(fixed[26:28], "little") + int.from_bytes(fixed[28:30], "little")
        stored = self.stored_bytes if most is None else min(self.stored_bytes, 2 * most)
        content = read_slice(self.path, self.header + 30 + variable, stored)
        wanted = self.size if most is None else min(most, self.size)
        if self.method == DEFLATED:
            try:  # one byte more than wanted: an entry must not unpack to more than it says
                content = zlib.decompressobj(wbits=-15).decompress(content, wanted + 1)
            except zlib.error as error:
                raise ImageError("damaged (the archive's entry does not unpack)") from error
        if most is None and (len(content) != wanted or zlib.crc32(content) != self.crc):
            raise ImageError("damaged (the archive's checksum disagrees)")
        return content[:wanted]


def read_slice(path: str, offset: int, size: int) -> bytes:
    """Read `size` bytes of a file that stays open for the next time."""
    descriptor = _descriptor(path)
    if not 0 <= offset <= os.fstat(descriptor).st_size - size:  # before memory is taken for it
        raise ImageError("cut off (it lies outside of the archive)")
    content = b""
    while len(content) < size:  # a call reads 2 GB at most
        try:
            more = os.pread(descriptor, size - len(content), offset + len(content))
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror})") from error
        if not more:
            raise ImageError("cut off (it lies outside of the archive)")
        content = content + more if content else more
    return content


@functools.lru_cache(maxsize=4)
def _descriptor(path: str) -> int:
    return os.open(path, os.O_RDONLY)
