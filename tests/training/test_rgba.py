"""Images with alpha: trained under augmentation, and sampled as transparent PNG."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.random_streams import RandomStream
from scripts.generate import main as generate
from scripts.prepare_data import main as prepare_data
from training.augmentation.config import AugmentationConfig
from training.augmentation.pipeline import augment
from training.config import load_config
from training.loop import train


@pytest.mark.parametrize("mode", ["fixed", "diffaugment"])
def test_colours_change_and_alpha_does_not(mode):
    images = np.random.default_rng(0).uniform(-1, 1, [6, 8, 8, 4]).astype(np.float32)
    config = AugmentationConfig(mode=mode, transforms=("color",), p=1.0)
    stream = RandomStream("test", tf.range(6, dtype=tf.int64))
    changed = augment(images, stream, config, 1.0).numpy()
    alone = augment(images[..., :3], stream, config, 1.0).numpy()
    np.testing.assert_array_equal(changed[..., :3], alone)
    np.testing.assert_array_equal(changed[..., 3], images[..., 3])
    assert np.abs(alone - images[..., :3]).max() > 0.1


def test_from_pictures_to_pictures(small_config, tmp_path):
    options = ["--resolution", "8", "--max-images", "20", "--channels", "rgba"]
    prepare_data(["demo", "--out", str(tmp_path / "data"), *options])
    every = "[blit, geometric, color, filter, noise, cutout]"
    changes = ["training.kimg=0.008", "training.augmentation.mode=ada"]
    changes.append(f"training.augmentation.transforms={every}")
    config = load_config(small_config, changes)
    assert train(config, data=tmp_path / "data", run=tmp_path / "run")
    generate(["--model", str(tmp_path / "run"), "--out", str(tmp_path), "--num", "3"])
    generate(["--model", str(tmp_path / "run"), "--out", str(tmp_path), "--num", "3", "--grid"])
    grid, single = (Image.open(tmp_path / name) for name in ("grid.png", "seed000002.png"))
    assert grid.mode == single.mode == "RGBA"
    part = np.array(grid)[:8, 16:24]
    np.testing.assert_array_equal(part, np.array(single))
    for name in ("reals", "fakes-init", "fakes-000000.008"):
        assert Image.open(tmp_path / "run" / "samples" / f"{name}.png").mode == "RGBA"
