"""Bilinear resizing that averages where it shrinks, as tf.image.resize(antialias=True) does it.

TensorFlow has a kernel of it for CPUs only: images on a GPU would be fetched from there, resized on
the host and brought back.
"""

from collections.abc import Sequence

import tensorflow as tf

from dnnlib.ops.library import current_device


def resize_antialiased(images: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Resize images float32 [B, H, W, C] to `size`, (height, width), with a triangular filter."""
    if current_device() == "CPU":
        return tf.image.resize(images, size, antialias=True)
    return resize_by_products(images, size)


def resize_by_products(images: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """The same as two products of matrices: y = R x C^T for each channel x [H, W]."""
    height, width = size
    rows = _weights(tf.shape(images)[1], height)
    columns = _weights(tf.shape(images)[2], width)
    return tf.einsum("jw,biwc->bijc", columns, tf.einsum("ih,bhwc->biwc", rows, images))


def _weights(pixels: tf.Tensor, results: int) -> tf.Tensor:
    """Return [results, pixels]: the share of each pixel in each result along a side.

    A triangle around the result's centre, two pixels wide, or two results where these are larger.
    """
    step = tf.cast(pixels, tf.float32) / results
    centres = (tf.range(results, dtype=tf.float32) + 0.5) * step
    distances = tf.abs(tf.cast(tf.range(pixels), tf.float32) + 0.5 - centres[:, None])
    shares = tf.nn.relu(1 - distances / tf.maximum(step, 1.0))
    return shares / tf.reduce_sum(shares, axis=1, keepdims=True)
