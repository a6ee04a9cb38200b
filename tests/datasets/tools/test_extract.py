"""prepare_data.py extract, as a user calls it."""

import json

import numpy as np
from PIL import Image

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from tests.datasets.conftest import expect, prepare_data
from tests.datasets.test_dataset import IMAGES, LABELS, TINY


def test_extract_and_back(tmp_path):
    found = prepare_data("extract", TINY, "--out", tmp_path / "out")
    assert found.returncode == 0 and "10 images" in found.stdout
    for number, expected in enumerate(IMAGES):
        path = tmp_path / "out" / "00000" / f"{number:08d}.png"
        np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    table = json.loads((tmp_path / "out" / "dataset.json").read_text())
    np.testing.assert_array_equal([label for _, label in table["labels"]], LABELS)
    choices, order = Preparation(resolution=16), Order(labels="dataset.json")
    prepare(str(tmp_path / "out"), tmp_path / "set", choices, order, workers=1)
    images, labels = datasets.open_dataset(tmp_path / "set").read(range(10))
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    expect(prepare_data("extract", TINY, "--out", tmp_path / "out"), "already there")
