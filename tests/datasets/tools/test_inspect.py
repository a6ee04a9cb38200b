"""prepare_data.py inspect, as a user calls it."""

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from datasets.tools.inspect import histogram, tile
from tests.datasets.conftest import prepare_data
from tests.datasets.test_dataset import LABELS, TINY


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_inspect(pictures, tmp_path, encoding):
    choices = Preparation(resolution=16, encoding=encoding, filter="box")
    prepare(str(pictures), tmp_path / "set", choices, Order(labels="folders"), workers=1)
    found = prepare_data("inspect", tmp_path / "set", "--sheet", tmp_path / "sheet.png")
    assert found.returncode == 0, found.stderr
    images, labels = datasets.open_dataset(tmp_path / "set").read(range(16))
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2))
    for value in (*mean, *std):
        assert f"{value:.1f}" in found.stdout
    assert "16 of 16x16, 3 channels" in found.stdout and encoding in found.stdout
    assert "filter box" in found.stdout and "8 files skipped" in found.stdout
    assert "deeper          8 ####" in found.stdout
    assert Image.open(tmp_path / "sheet.png").size == (6 * 16, 3 * 16)


def test_inspect_official_files():
    found = prepare_data("inspect", TINY, "--resolution", 8)
    assert "10 of 8x8" in found.stdout and "official program" in found.stdout
    assert "label2" in found.stdout and f"{LABELS[:, 2].sum():g} #" in found.stdout


def test_sheet_and_histogram():
    images = [np.full((2, 3, 1), number, np.uint8) for number in range(7)]
    sheet = np.asarray(tile(images))
    assert sheet.shape == (4, 12)
    assert sheet[0, ::3].tolist() == [0, 1, 2, 3] and sheet[2, ::3].tolist() == [4, 5, 6, 255]
    lines = histogram([f"n{number}" for number in range(50)], range(50), most=3)
    assert len(lines) == 4 and lines[-1] == "  and 47 more"
