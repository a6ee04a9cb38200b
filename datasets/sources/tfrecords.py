"""Record files as a source: official ones, NVIDIA's, or a data set that we prepared."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.opening import locate_images, open_records
from datasets.records import RecordError, parse_message
from datasets.shards import find_levels, is_record_file
from datasets.sources.item import MOST_BYTES, Item, read_slice
from datasets.sources.source import Source, file_identity, state_of
from dnnlib.image_files import ImageError


@dataclass(frozen=True)
class RecordImage:
    """An image in a record file."""

    path: str
    offset: int
    size: int

    def load(self, most_bytes: int = MOST_BYTES) -> bytes | np.ndarray:
        """Return the PNG file, or the pixels [H, W, C]."""
        features = _parse(self.path, self.offset, self.size)
        try:
            data = features["data"]
            if data.startswith(b"\x89PNG"):
                return data
            pixels = np.frombuffer(data, np.uint8).reshape(features["shape"])  # [C, H, W]
        except (KeyError, ValueError, AttributeError) as error:
            raise ImageError("the record holds no image") from error
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))


class RecordDirectory(Source):
    """The images of the largest resolution, in order, with their labels."""

    kind = "tfrecords"

    def __init__(self, path: Path):
        super().__init__(path)
        self._records = open_records(path.parent if path.is_file() else path)
        others = [level.resolution for level in find_levels(self._records.directory)]
        if len(set(others)) > 1:
            self.remarks.append(
                f"holds each image in {', '.join(map(str, others))}; those of "
                f"{self._records.resolution} are read"
            )
        self._counts = [len(file) for file in self._records.files]
        self.ratio = self._records.ratio
        self.label_names = self._records.label_names or None

    @property
    def count(self) -> int:
        """How many images there are."""
        return sum(self._counts)

    def items(self) -> Iterator[Item]:
        """Yield all images."""
        shards, places = locate_images(self._counts)
        for image, (shard, place) in enumerate(zip(shards, places, strict=True)):
            file = self._records.files[shard]
            content = RecordImage(
                str(file.path), int(file.offsets[place]), int(file.lengths[place])
            )
            yield Item(f"{image:08d}", content, self._label(image, content))

    def identity(self) -> str:
        """Return a digest of the sizes and the ends of the files."""
        return " ".join(file_identity(file.path) for file in self._records.files)

    def state(self) -> str:
        """Return a digest of sizes and times; of an archive where they lie in one."""
        inside = self.path.is_dir() or is_record_file(self.path.name)
        return state_of([file.path for file in self._records.files] if inside else [self.path])

    def _label(self, image: int, content: RecordImage) -> np.ndarray | None:
        if self._records.side_labels is not None:
            return self._records.side_labels[image]
        if not self.label_names:
            return None
        label = _parse(content.path, content.offset, content.size).get("label")
        return np.asarray(label, np.float32) if label is not None else None


def is_record_source(path: Path) -> bool:
    """Say whether this is a record file or a folder that holds some."""
    if path.is_file():
        return is_record_file(path.name)
    return any(is_record_file(file.name) for file in path.iterdir())


def _parse(path: str, offset: int, size: int) -> dict:
    try:
        return parse_message(read_slice(path, offset, size))
    except RecordError as error:
        raise ImageError(str(error)) from error
