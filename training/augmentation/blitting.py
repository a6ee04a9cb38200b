"""Pixel blitting of ADA: pixels move to other places, and none is changed.

Karras et al. (2020), "Training Generative Adversarial Networks with Limited Data", appendix B:
x-flips, rotations by quarter turns and integer translations, each with probability p.
"""

from typing import NamedTuple

import tensorflow as tf

from dnnlib.random_streams import RandomStream
from training.augmentation.reflection import fold

SHIFT = 0.125  # of width and height, at most


class Blit(NamedTuple):
    """What happens to each image, in this order.

    flip:  [B] bool, left to right.
    turns: [B] int32, counterclockwise quarter turns about the centre.
    shift: [B, 2] float32, whole pixels down and to the right.
    """

    flip: tf.Tensor
    turns: tf.Tensor
    shift: tf.Tensor


def draw_blit(stream: RandomStream, p: tf.Tensor, height: int, width: int) -> Blit:
    """Draw a Blit for each image of the stream."""
    chance, amount = tf.split(stream.uniform([7]), [3, 4], axis=1)
    happens = chance < p  # [B, 3]
    flip = happens[:, 0] & (amount[:, 0] < 0.5)
    turns = tf.where(happens[:, 1], tf.cast(amount[:, 1] * 4, tf.int32), 0)
    shift = tf.round((2 * amount[:, 2:] - 1) * SHIFT * tf.constant([height, width], tf.float32))
    return Blit(flip, turns, tf.where(happens[:, 2:], shift, 0.0))


def blit(images: tf.Tensor, change: Blit) -> tf.Tensor:
    """Copy every pixel from where it comes from; what enters is reflected.  [B, H, W, C]."""
    _, height, width, channels = images.shape
    y, x = _sources(change, height, width)  # [B, H*W]
    pixels = tf.reshape(images, [-1, height * width, channels])
    pixels = tf.gather(pixels, y * width + x, batch_dims=1)
    return tf.reshape(pixels, [-1, height, width, channels])


def _sources(change: Blit, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return row and column that each pixel of the result comes from, int32 [B, H*W] each.

    With positions relative to the centre, halves of whole numbers, all sums here are exact.
    """
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y, x = tf.meshgrid(tf.range(height * 1.0), tf.range(width * 1.0), indexing="ij")
    y = tf.reshape(y, [1, -1]) - middle_y - change.shift[:, :1]
    x = tf.reshape(x, [1, -1]) - middle_x - change.shift[:, 1:]
    cos = tf.gather([1.0, 0.0, -1.0, 0.0], change.turns)[:, None]
    sin = tf.gather([0.0, 1.0, 0.0, -1.0], change.turns)[:, None]
    y, x = cos * y + sin * x, cos * x - sin * y  # turn back
    x = tf.where(change.flip[:, None], -x, x)
    y, x = fold(y + middle_y, height), fold(x + middle_x, width)
    return tf.cast(tf.round(y), tf.int32), tf.cast(tf.round(x), tf.int32)
