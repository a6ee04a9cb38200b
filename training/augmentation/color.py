"""Colour transformations of ADA, as one 3 x 4 matrix for each image.

Karras et al. (2020), appendix B: brightness, contrast, luma flip, hue rotation and saturation, in
this order. With v the grey axis, all but brightness split a colour into its luma (along v) and its
chroma (across v):

    y = c (f v v^T + s R(angle)) (x + b),   R(angle) = cos(angle) (I - v v^T) + sin(angle) [v]x
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.random_streams import RandomStream

BRIGHTNESS = 0.2  # standard deviation, for colours in [-1, 1]
LOG2_CONTRAST = 0.5  # standard deviation
LOG2_SATURATION = 1.0  # standard deviation

LUMA = np.full([3, 3], 1 / 3, np.float32)  # v v^T with v = (1, 1, 1) / sqrt(3)
CHROMA = np.eye(3, dtype=np.float32) - LUMA
ACROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.float32(3**0.5)  # [v]x


class Recoloring(NamedTuple):
    """What happens to the colours of each image, [B] each: b, c, f (1 or -1), angle, s."""

    brightness: tf.Tensor
    contrast: tf.Tensor
    luma: tf.Tensor
    hue: tf.Tensor
    saturation: tf.Tensor


def draw_recoloring(stream: RandomStream, p: tf.Tensor) -> Recoloring:
    """Draw a Recoloring for each image of the stream."""
    uniform = tf.unstack(stream.fold("uniform").uniform([7]), axis=1)
    brightness, contrast, saturation = tf.unstack(stream.fold("normal").normal([3]), axis=1)
    happens = [chance < p for chance in uniform[:5]]
    return Recoloring(
        tf.where(happens[0], brightness * BRIGHTNESS, 0.0),
        tf.where(happens[1], 2.0 ** (contrast * LOG2_CONTRAST), 1.0),
        tf.where(happens[2] & (uniform[5] < 0.5), -1.0, 1.0),
        tf.where(happens[3], (2 * uniform[6] - 1) * math.pi, 0.0),
        tf.where(happens[4], 2.0 ** (saturation * LOG2_SATURATION), 1.0),
    )


def recolor(images: tf.Tensor, change: Recoloring) -> tf.Tensor:
    """Change colours [B, H, W, C]; a grey image (C = 1) hears brightness, contrast and luma."""
    brightened = images + _spread(change.brightness)
    if images.shape[3] == 1:
        return brightened * _spread(change.contrast * change.luma)
    _, height, width, _ = images.shape
    pixels = tf.reshape(brightened, [-1, height * width, 3])
    pixels = tf.matmul(pixels, _matrix(change), transpose_b=True)
    return tf.reshape(pixels, [-1, height, width, 3])


def _matrix(change: Recoloring) -> tf.Tensor:
    """Return c (f v v^T + s R), [B, 3, 3]."""
    column = lambda value: value[:, None, None]  # noqa: E731
    turned = column(tf.cos(change.hue)) * CHROMA + column(tf.sin(change.hue)) * ACROSS
    mixed = column(change.luma) * LUMA + column(change.saturation) * turned
    return column(change.contrast) * mixed


def _spread(value: tf.Tensor) -> tf.Tensor:
    return value[:, None, None, None]  # [B] -> [B, 1, 1, 1]
