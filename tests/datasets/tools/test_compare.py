"""prepare_data.py compare, as a user calls it."""

import numpy as np

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from tests.datasets.conftest import expect, prepare_data
from tests.datasets.test_dataset import TINY


def test_compare(prepared, pictures, tmp_path):
    choices = Preparation(resolution=16, filter="box")
    prepare(str(pictures), tmp_path / "box", choices, Order(shards=1), workers=1)
    same = prepare_data("compare", prepared, prepared)
    assert "24 of 24" in same.stdout and "largest 0 " in same.stdout
    found = prepare_data("compare", prepared, tmp_path / "box")
    images = [
        datasets.open_dataset(path).read(range(24))[0] for path in (prepared, tmp_path / "box")
    ]
    difference = np.abs(images[0].astype(int) - images[1])
    assert f"mean {difference.mean():.4f}, largest {difference.max()} " in found.stdout
    expect(prepare_data("compare", prepared, TINY, "--resolution", 8), "no images of resolution 8")
    prepare(str(pictures), tmp_path / "small", Preparation(resolution=8), Order(), workers=1)
    expect(prepare_data("compare", prepared, tmp_path / "small"), "cannot be compared: resolution")
