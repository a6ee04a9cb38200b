"""Resizing, against TensorFlow 1's rule and Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from metrics.networks.building_blocks import resize_like_clean_fid, resize_like_tf1
from tests.metrics.oracles import resize_by_definition


def random_images(rows, columns, count=2):
    random = np.random.default_rng(rows)
    return random.integers(0, 256, [count, rows, columns, 3], dtype=np.uint8)


@pytest.mark.parametrize("rows, columns", [(32, 32), (299, 299), (400, 37), (1, 500)])
def test_resize_is_tf1s(rows, columns):
    images = random_images(rows, columns)
    resized = resize_like_tf1(tf.constant(images, tf.float32), 299).numpy()
    # TensorFlow computes positions in float32: to 500 / 2^23 pixels, times 255 grey levels.
    np.testing.assert_allclose(resized, resize_by_definition(images, 299), atol=0.02)
    # It differs from TF2's resize, which places pixel centres.
    modern = tf.image.resize(tf.constant(images, tf.float32), [299, 299]).numpy()
    assert rows == columns == 299 or np.abs(resized - modern).max() > 5


@pytest.mark.parametrize("rows, columns", [(64, 64), (500, 333)])
def test_clean_resize_is_pillows_without_rounding(rows, columns):
    """clean-fid's resize in float32 against Pillow's in 8 bits, which rounds and clips."""
    images = random_images(rows, columns) // 2 + 64  # so that nothing is clipped half-way
    resized = resize_like_clean_fid(images.astype(np.float32), 299)
    assert resized.shape == (2, 299, 299, 3) and resized.dtype == np.float32
    for image, found in zip(images, resized, strict=True):
        expected = Image.fromarray(image).resize((299, 299), Image.Resampling.BICUBIC)
        # Pillow rounds to 8 bits after rows and again after columns.
        assert np.abs(found - np.asarray(expected, np.float32)).max() < 1.5
    assert not np.array_equal(resized, np.rint(resized))
