"""What every kind of source offers."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets.sources.item import Item
from dnnlib.image_folders import LeftAside


class Source:
    """Images to be prepared. `items` gives them in an order that never changes."""

    kind = "images"
    label_names: list[str] | None = None  # of the labels that the items bring along

    ratio: float | None = None  # height / width of the useful part, where it is known already

    def __init__(self, path: Path):
        self.path = Path(path)
        self.remarks: list[str] = []  # what else the source could be, and what is not used of it
        self.left_aside = LeftAside()  # files that are not tried; complete after a walk through all

    @property
    def count(self) -> int | None:
        """How many items there are, None if that is not known before the end."""
        return None

    def items(self) -> Iterator[Item]:
        """Yield all images in order. Those that cannot be used are yielded, too, and say why."""
        raise NotImplementedError

    def read_text(self, name: str) -> bytes | None:
        """Return the content of another file of the source, such as a table; None if not there."""
        return None

    def other_files(self, suffix: str) -> list[str]:
        """Return the names of files of the source that end so and are no images."""
        return []

    def identity(self) -> str:
        """Return what distinguishes this source from others without reading all of it."""
        raise NotImplementedError

    def state(self) -> str:
        """Return a digest of sizes and times of change: if it is the same, so is the content."""
        return state_of([self.path])


def state_of(paths: Iterable[Path]) -> str:
    """Return a digest of names, sizes and times of change of files."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(state_line(path.name, status))
    return digest.hexdigest()


def state_line(name: str, status) -> bytes:
    """Return what `state_of` takes of one file.

    The second time is that of any change of content, name or rights; nobody can set it.
    """
    line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\n"
    return line.encode(errors="surrogateescape")


def file_identity(path: Path, sample_bytes: int = 1 << 20) -> str:
    """Return a digest of the size, the start and the end of a file (of a zip: its checksums)."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest.update(str(size).encode() + file.read(sample_bytes))
        file.seek(max(0, size - sample_bytes))
        digest.update(file.read(sample_bytes))
    return digest.hexdigest()
