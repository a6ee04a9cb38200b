"""Antialiased resizing against TensorFlow's kernel, which exists for CPUs only."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.ops.resizing import resize_antialiased, resize_by_products

SHAPES = [((64, 64), (224, 224)), ((256, 300), (224, 97)), ((33, 40), (33, 20)), ((5, 7), (4, 9))]


@pytest.mark.gpu
@pytest.mark.parametrize("before, after", SHAPES)
def test_resizing_and_its_gradient_are_tensorflows(before, after, device):
    draw = np.random.default_rng(0)
    images = tf.constant(draw.uniform(0, 255, [2, *before, 3]), tf.float32)
    weights = tf.constant(draw.standard_normal([2, *after, 3]), tf.float32)
    with tf.device("CPU:0"):
        expected = _value_and_gradient(
            lambda x: tf.image.resize(x, after, antialias=True), images, weights
        )
    with tf.device(device):
        for resize in (resize_antialiased, resize_by_products):
            found = _value_and_gradient(lambda x: resize(x, after), images, weights)  # noqa: B023
            for one, other in zip(found, expected, strict=True):
                # Positions are float32 in both: each is up to 1e-5 of the largest from the truth.
                np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * np.abs(other).max())


def _value_and_gradient(resize, images, weights):
    with tf.GradientTape() as tape:
        tape.watch(images)
        resized = resize(images)
        total = tf.reduce_sum(resized * weights)
    return resized.numpy(), tape.gradient(total, images).numpy()
