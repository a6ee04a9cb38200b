"""inspect, verify, extract and compare, as a user calls them."""

import json

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from datasets.tools.inspection import histogram, tile
from tests.datasets.conftest import prepare_data
from tests.datasets.test_bad_input import expect
from tests.datasets.test_reading import IMAGES, LABELS, TINY


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


def test_verify(prepared):
    found = prepare_data("verify", prepared)
    assert found.returncode == 0 and "all right: 3 files and 24 records" in found.stdout
    path = sorted(prepared.glob("*.tfrecords*"))[1]
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    expect(prepare_data("verify", prepared), path.name, "sha256")
    (prepared / "dataset.json").unlink()
    expect(prepare_data("verify", prepared), path.name, "record 7", "checksum")


def test_verify_decodes_png(pictures, tmp_path):
    """A record with right checksums whose picture is wrong."""
    from datasets.records import frame, image_message

    choices = Preparation(resolution=16, encoding="png")
    prepare(str(pictures), tmp_path / "set", choices, Order(shards=1), workers=1)
    assert prepare_data("verify", tmp_path / "set").returncode == 0
    path = next((tmp_path / "set").glob("*.tfrecords*"))
    path.write_bytes(path.read_bytes() + frame(image_message(b"\x89PNG nonsense", (3, 16, 16))))
    (tmp_path / "set" / "dataset.json").unlink()
    expect(prepare_data("verify", tmp_path / "set"), path.name, "record 24")


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


def test_unknown_words():
    expect(prepare_data("inspect"), "directory")
    expect(prepare_data("verify", "/none"), "no such data directory")
    expect(prepare_data("inspect", TINY, "--sheeet", "x"), "--sheet")
