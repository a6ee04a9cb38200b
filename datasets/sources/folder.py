"""A folder of image files, with all folders inside it."""

import functools
import hashlib
import os
from collections.abc import Iterator

from datasets.sources.item import Item, WholeFile
from datasets.sources.source import Source, may_be_image


class Folder(Source):
    """Images in the order of their sorted paths (as the official program takes them)."""

    kind = "folder"

    @functools.cached_property
    def count(self) -> int:
        """Files that may be images."""
        return sum(1 for _ in self._files(images=True))

    def items(self) -> Iterator[Item]:
        """Yield all files that may be images."""
        for name, entry in self._files(images=True):
            yield Item(name, WholeFile(entry.path))

    def read_text(self, name: str) -> bytes | None:
        """Return the content of a file of the folder."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None

    def other_files(self, suffix: str) -> list[str]:
        """Return the names of files that end in `suffix`."""
        return [name for name, _ in self._files(images=False) if name.endswith(suffix)]

    def identity(self) -> str:
        """Return a digest of all names and sizes."""
        digest = hashlib.sha256()
        for name, entry in self._files(images=True):
            digest.update(f"{name}\0{entry.stat().st_size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _files(self, *, images: bool) -> Iterator[tuple[str, os.DirEntry]]:
        for name, entry in _walk(str(self.path), ""):
            if may_be_image(name) == images:
                yield name, entry


def _walk(
    directory: str, prefix: str, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, os.DirEntry]]:
    """Yield (path inside, entry) of all files in the order of their sorted paths.

    Only one folder's entries are in memory at a time: a folder sorts as its name and "/".
    above: what identifies the folders around this one; links that lead back there are left out.
    """
    status = os.stat(directory)
    if (status.st_dev, status.st_ino) in above:
        return
    with os.scandir(directory) as entries:
        ordered = sorted(
            (f"{entry.name}/" if entry.is_dir() else entry.name, entry.is_dir(), entry)
            for entry in entries
        )
    for name, is_directory, entry in ordered:
        if is_directory:
            inside = (*above, (status.st_dev, status.st_ino))
            yield from _walk(entry.path, prefix + name, inside)
        else:
            yield prefix + name, entry
