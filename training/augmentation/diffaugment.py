"""DiffAugment: Zhao et al. (2020), "Differentiable Augmentation for Data-Efficient GAN Training".

Every transformation happens to every image. Colours are in [-1, 1]. Its cutout is that of ADA
(corruption.py) with p = 1.
"""

import tensorflow as tf

from dnnlib.random_streams import RandomStream

SHIFT = 1 / 8  # of width and height, at most


def jitter_colors(images: tf.Tensor, stream: RandomStream) -> tf.Tensor:
    """Add up to 0.5; scale what differs from grey by 0 to 2, then from the mean by 0.5 to 1.5."""
    chosen = stream.uniform([3])[:, :, None, None, None]  # [B, 3, 1, 1, 1]
    brightness, saturation, contrast = tf.unstack(chosen, axis=1)
    images = images + (brightness - 0.5)
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = grey + (images - grey) * (saturation * 2)
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return mean + (images - mean) * (contrast + 0.5)


def translate(images: tf.Tensor, stream: RandomStream) -> tf.Tensor:
    """Move by whole pixels, up to an eighth of the size; zeros enter."""
    _, height, width, _ = images.shape
    y, x = tf.unstack(stream.uniform([2]), axis=1)
    images = _move(images, y, height, axis=1)
    return _move(images, x, width, axis=2)


def _move(images: tf.Tensor, amount: tf.Tensor, size: int, *, axis: int) -> tf.Tensor:
    """Move along an axis by -limit to limit pixels, for `amount` in [0, 1) [B]."""
    limit = int(size * SHIFT + 0.5)
    start = tf.cast(amount * (2 * limit + 1), tf.int32)[:, None]  # [B, 1], 0 to 2 limit
    padding = [[0, 0] for _ in range(4)]
    padding[axis] = [limit, limit]
    padded = tf.pad(images, padding)
    index = start + tf.range(size)  # [B, size]
    return tf.gather(padded, index, axis=axis, batch_dims=1)
