"""Images of a TensorFlow Datasets builder: `tfds:NAME` or `tfds:NAME:SPLIT`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.sources.item import MOST_BYTES, Item
from datasets.sources.source import Source
from dnnlib.errors import UserError

PREFIX = "tfds:"


@dataclass(frozen=True)
class Pixels:
    """An image that is already here."""

    pixels: np.ndarray  # uint8 [H, W, C]

    def load(self, most_bytes: int = MOST_BYTES) -> np.ndarray:
        """Return the image."""
        return self.pixels


class TfdsBuilder(Source):
    """The images (feature `image`) of one split, in the order of its files."""

    kind = "tfds"

    def __init__(self, name: str):
        builder_name, _, split = name.removeprefix(PREFIX).partition(":")
        super().__init__(Path(builder_name.replace("/", "-")))
        try:
            import tensorflow_datasets
        except ImportError as error:
            raise UserError(
                f"{name}: needs TensorFlow Datasets: pip install tensorflow-datasets"
            ) from error
        self._split = split or "train"
        self._builder = tensorflow_datasets.builder(builder_name)
        self._builder.download_and_prepare()
        features = self._builder.info.features
        if "image" not in features:
            raise UserError(f"{name}: has no feature `image`, only {', '.join(features)}")
        if self._split not in self._builder.info.splits:
            known = ", ".join(self._builder.info.splits)
            raise UserError(f'{name}: has no split "{self._split}" (one of {known})')
        if hasattr(features.get("label"), "names"):
            self.label_names = [f"label={name}" for name in features["label"].names]

    @property
    def count(self) -> int:
        """How many images the split has."""
        return self._builder.info.splits[self._split].num_examples

    def items(self) -> Iterator[Item]:
        """Yield all images."""
        stream = self._builder.as_dataset(split=self._split, shuffle_files=False)
        for number, example in enumerate(stream.as_numpy_iterator()):
            label = None
            if self.label_names:
                label = np.zeros(len(self.label_names), np.float32)
                label[example["label"]] = 1
            yield Item(f"{number:08d}", Pixels(example["image"]), label)

    def identity(self) -> str:
        """Return a digest of the full name with its version."""
        name = f"{self._builder.info.full_name} {self._split} {self.count}"
        return hashlib.sha256(name.encode()).hexdigest()

    def state(self) -> str:
        """The same: a version of a builder does not change."""
        return self.identity()
