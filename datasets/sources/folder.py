"""A folder of image files, with all folders inside it."""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from datasets.journal import UNFINISHED
from datasets.sources.item import Item, Unusable, WholeFile
from datasets.sources.source import Source, state_line
from dnnlib.image_folders import FoundFile, LeftAside, reason_to_leave_aside, walk


class Folder(Source):
    """Images in the order of their sorted paths (as the official program takes them).

    out: a directory that is left out: the data set that is being made.
    """

    kind = "folder"

    def __init__(self, path: Path, out: Path | None = None):
        super().__init__(path)
        self._out = out

    @functools.cached_property
    def count(self) -> int:
        """Files that may be images."""
        return sum(1 for _ in self._images())

    def items(self) -> Iterator[Item]:
        """Yield all files that may be images, and all that cannot be read."""
        for file in self._images():
            yield Item(file.name, Unusable(file.problem) if file.problem else WholeFile(file.path))

    def read_text(self, name: str) -> bytes | None:
        """Return the content of a file of the folder."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None

    def other_files(self, suffix: str) -> list[str]:
        """Return the names of files that end in `suffix`."""
        return [
            file.name
            for file in self._walk()
            if file.name.endswith(suffix) and reason_to_leave_aside(file.name)
        ]

    def identity(self) -> str:
        """Return a digest of all names and sizes."""
        digest = hashlib.sha256()
        for file in self._images():
            if file.status is not None and file.problem is None:
                line = f"{file.name}\0{file.status.st_size}\n"
                digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()

    def state(self) -> str:
        """Return a digest of names, sizes and times of images and attribute files."""
        digest = hashlib.sha256()
        for file in self._walk():
            wanted = reason_to_leave_aside(file.name) is None or file.name.endswith(".csv")
            if wanted and file.status is not None and file.problem is None:
                digest.update(state_line(file.name, file.status))
        return digest.hexdigest()

    def _walk(self) -> Iterator[FoundFile]:
        without = [] if self._out is None else [self._out, self._out / UNFINISHED]
        return walk(self.path, without=without)

    def _images(self) -> Iterator[FoundFile]:
        left_aside = LeftAside()
        for file in self._walk():
            reason = reason_to_leave_aside(file.name)
            if reason is None:
                yield file
            else:
                left_aside.add(reason, file.name)
        self.left_aside = left_aside
