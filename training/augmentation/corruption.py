"""Image-space corruptions of ADA: noise and cutout, Karras et al. (2020), appendix B."""

import tensorflow as tf

from dnnlib.random_streams import RandomStream

NOISE = 0.1  # standard deviation of the noise's standard deviation, for colours in [-1, 1]
CUTOUT = 0.5  # of width and height


def add_noise(images: tf.Tensor, stream: RandomStream, p: tf.Tensor) -> tf.Tensor:
    """Add normal noise, with probability p and a half-normal strength of its own each time."""
    happens = stream.fold("happens").uniform([1, 1, 1]) < p
    strength = tf.abs(stream.fold("strength").normal([1, 1, 1])) * NOISE
    noise = stream.fold("noise").normal(list(images.shape[1:]))
    return images + tf.where(happens, strength * noise, 0.0)


def cut_out(images: tf.Tensor, stream: RandomStream, p: tf.Tensor) -> tf.Tensor:
    """Make a rectangle of half the size grey, with probability p, anywhere and partly outside."""
    _, height, width, _ = images.shape
    chance, y, x = tf.split(stream.uniform([3]), 3, axis=1)  # [B, 1]
    rows, columns = _is_cut(y, height), _is_cut(x, width)  # [B, H], [B, W]
    is_cut = (rows & (chance < p))[:, :, None] & columns[:, None, :]
    return tf.where(is_cut[..., None], 0.0, images)


def _is_cut(centre: tf.Tensor, size: int) -> tf.Tensor:
    """Whether each of `size` pixels is in the cut, [B, size], for centres in [0, 1), [B, 1]."""
    first = tf.round((centre - CUTOUT / 2) * size)
    last = tf.round((centre + CUTOUT / 2) * size)
    pixel = tf.range(size * 1.0)
    return (pixel >= first) & (pixel < last)
