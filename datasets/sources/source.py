"""What every kind of source offers."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from datasets.sources.item import Item

# Files that come along with images. Everything else is tried, whatever its name says.
OTHER_SUFFIXES = frozenset(
    f".{suffix}"
    for suffixes in (
        "csv tsv json jsonl txt md rst html htm xml yaml yml toml ini log pdf doc docx license",
        "npy npz pkl pt pth mat h5 hdf5 labels mdb db py sh bak",
        "zip tar gz tgz bz2 xz 7z rar sha256 md5",
    )
    for suffix in suffixes.split()
)


class Source:
    """Images to be prepared. `items` gives them in an order that never changes."""

    kind = "images"
    label_names: list[str] | None = None  # of the labels that the items bring along

    ratio: float | None = None  # height / width of the useful part, where it is known already

    def __init__(self, path: Path):
        self.path = Path(path)

    @property
    def count(self) -> int | None:
        """How many items there are, None if that is not known before the end."""
        return None

    def items(self) -> Iterator[Item]:
        """Yield all images in order."""
        raise NotImplementedError

    def read_text(self, name: str) -> bytes | None:
        """Return the content of another file of the source, such as a table; None if not there."""
        return None

    def other_files(self, suffix: str) -> list[str]:
        """Return the names of files of the source that end so and are no images."""
        return []

    def identity(self) -> str:
        """Return what tells this source from another without reading all of it."""
        raise NotImplementedError


def may_be_image(name: str) -> bool:
    """Say whether a file is worth trying; hidden files and Mac's shadows are not."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    last = parts[-1].lower()
    suffix = last[last.rfind(".") :] if "." in last else ""
    return not hidden and suffix not in OTHER_SUFFIXES and last not in ("thumbs.db", "license")


def file_identity(path: Path, sample_bytes: int = 1 << 20) -> str:
    """Return a digest of the size, the start and the end of a file (of a zip: its checksums)."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest.update(str(size).encode() + file.read(sample_bytes))
        file.seek(max(0, size - sample_bytes))
        digest.update(file.read(sample_bytes))
    return digest.hexdigest()
