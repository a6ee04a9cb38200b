"""The preparation chain against the official program's numbers and against Pillow."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.conversion import prepare_image
from datasets.preparation import Preparation
from datasets.shaping import (
    centre_crop,
    halve,
    nearest_resolution,
    pad_to_square,
    resize,
    shape_image,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "data"
OFFICIAL = np.load(GOLDEN / "data.npz")
CASES = json.loads((GOLDEN / "data.json").read_text())["cases"]["prepare"]["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["key"])
def test_official_preparation_step_by_step(case):
    key, ratio = case["key"], case["ratio"]
    picture = Image.fromarray(OFFICIAL[f"{key}/input_hwc"])
    cropped = centre_crop(picture, ratio) if ratio else picture
    np.testing.assert_array_equal(np.asarray(cropped), OFFICIAL[f"{key}/cropped_hwc"])
    padded = pad_to_square(cropped)
    np.testing.assert_array_equal(np.asarray(padded), OFFICIAL[f"{key}/padded_hwc"])
    assert nearest_resolution(padded.width) == case["final"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["key"])
def test_official_preparation_as_options(case):
    preparation = Preparation(
        resolution=case["final"], crop="ratio" if case["ratio"] else "pad", ratio=case["ratio"]
    )
    image = prepare_image(OFFICIAL[f"{case['key']}/input_hwc"], preparation)
    expected = OFFICIAL[f"{case['key']}/final_chw"]
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= 1  # another Pillow may round otherwise


@pytest.mark.parametrize("crop", ["square", "pad", "stretch", "ratio"])
@pytest.mark.parametrize("size", [(20, 9), (9, 20), (1, 50), (50, 1), (16, 16)])
def test_any_size_becomes_a_square(crop, size):
    picture = Image.new("RGB", size, "red")
    ratio = 0.6 if crop == "ratio" else None
    shaped = shape_image(picture, resolution=8, crop=crop, ratio=ratio, filter="lanczos")
    assert shaped.size == (8, 8)


def test_square_crop_is_the_centre():
    picture = Image.new("RGB", (30, 10), "red")
    picture.paste("blue", (10, 0, 20, 10))
    shaped = shape_image(picture, resolution=8, crop="square", ratio=None, filter="lanczos")
    assert set(shaped.getdata()) == {(0, 0, 255)}


def test_area_is_the_exact_mean_of_what_a_pixel_covers():
    pixels = np.random.RandomState(0).randint(0, 256, (48, 48, 3), np.uint8)
    shrunk = np.asarray(resize(Image.fromarray(pixels), 32, filter="area"))
    blocks = np.kron(pixels.astype(float), np.ones((2, 2, 1)))  # 96x96: 3x3 for each of 32x32
    expected = blocks.reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - expected).max() <= 0.51


def test_area_and_box_agree_for_whole_factors():
    pixels = np.random.RandomState(1).randint(0, 256, (64, 64), np.uint8)
    picture = Image.fromarray(pixels)
    area, box = (np.asarray(resize(picture, 16, filter=f)).astype(int) for f in ("area", "box"))
    assert np.abs(area - box).max() <= 1


def test_filters_are_pillows():
    picture = Image.fromarray(np.random.RandomState(2).randint(0, 256, (50, 50, 3), np.uint8))
    for name, filter in {"lanczos": 1, "box": 4, "bicubic": 3}.items():
        expected = picture.resize((16, 16), filter)
        assert resize(picture, 16, filter=name).tobytes() == expected.tobytes()


def test_smaller_levels_are_the_official_ones():
    """Level j+1 is the mean of 2x2 of level j, in float, rounded only for writing."""
    level = OFFICIAL["records/images"].astype(np.float32)  # [N, C, 16, 16]
    for number in (3, 2):
        level = np.stack([halve(image) for image in level])
        for shard in range(3):
            expected = OFFICIAL[f"records/tiny-r{number:02d}.tfrecords{shard + 1}of3"]
            np.testing.assert_array_equal(np.rint(level[shard::3]), expected)
