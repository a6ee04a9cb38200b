"""Sources that are no folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare

LMDB = Path(__file__).parents[1] / "files" / "small_lmdb"  # written by the lmdb package


def images_of(source, out, *, resolution=16, labels=None, workers=1):
    choices = Preparation(resolution=resolution)
    prepare(str(source), out, choices, Order(labels=labels), workers=workers)
    dataset = datasets.open_dataset(out)
    return dataset.read(range(dataset.count))


@pytest.fixture
def stack(pictures):
    paths = sorted(pictures.rglob("*.webp"))
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
