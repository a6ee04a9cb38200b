"""Labels from the folders that images lie in."""

import numpy as np

from datasets.labels.labeller import Labeller
from datasets.sources.item import Item
from datasets.sources.source import Source
from dnnlib.errors import UserError
from dnnlib.image_files import ImageError

MOST_CLASSES = 10_000


class FolderNames(Labeller):
    """One-hot: the name of the folder that an image lies in (ImageNet's way)."""

    def __init__(self, source: Source):
        classes = {_folder(item) for item in source.items()} - {""}
        if len(classes) < 2:
            raise UserError(
                f"{source.path}: its images do not lie in several folders, so --labels folders "
                "means nothing here; make one folder for each class"
            )
        if len(classes) > MOST_CLASSES:
            raise UserError(f"{source.path}: {len(classes)} folders are too many to be classes")
        self.names = sorted(classes)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def label(self, item: Item) -> np.ndarray:
        """Return the one-hot vector of the folder."""
        label = np.zeros(len(self.names), np.float32)
        try:
            label[self._numbers[_folder(item)]] = 1
        except KeyError:
            raise ImageError("lies in no folder that could be its class") from None
        return label


def _folder(item: Item) -> str:
    parts = item.name.split("/")
    return parts[-2] if len(parts) > 1 else ""
