"""General geometric transformations of ADA, as one matrix and one translation for each image.

Karras et al. (2020), appendix B: isotropic scaling, rotation, anisotropic scaling, rotation and
fractional translation, in this order; resampling.py carries them out together.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from dnnlib.random_streams import RandomStream

LOG2_SCALE = 0.2  # standard deviation
SHIFT = 0.125  # standard deviation, of width and height


class Affine(NamedTuple):
    """Where the content of each image moves: position -> linear position + shift.

    Positions are columns (x to the right, y down), in pixels from the centre.
    linear: [B, 2, 2].  shift: [B, 2].
    """

    linear: tf.Tensor
    shift: tf.Tensor


def draw_affine(stream: RandomStream, p: tf.Tensor, height: int, width: int) -> Affine:
    """Draw an Affine for each image of the stream.

    Both rotations together happen with probability p: each with 1 - sqrt(1 - p).
    """
    uniform = stream.fold("uniform").uniform([7])
    normal = stream.fold("normal").normal([4])
    p_rotation = 1 - tf.sqrt(1 - p)
    happens = uniform[:, :5] < tf.stack([p, p_rotation, p, p_rotation, p])  # [B, 5]
    log2_scales = tf.where(happens[:, 0:3:2], normal[:, :2] * LOG2_SCALE, 0.0)
    angles = tf.where(happens[:, 1:4:2], (2 * uniform[:, 5:] - 1) * math.pi, 0.0)
    isotropic, anisotropic = tf.unstack(2.0**log2_scales, axis=1)
    before, after = tf.unstack(angles, axis=1)
    linear = _rotation(after) @ _scaling(anisotropic, 1 / anisotropic)
    linear = linear @ _rotation(before) @ _scaling(isotropic, isotropic)
    shift = normal[:, 2:] * SHIFT * tf.constant([width, height], tf.float32)
    return Affine(linear, tf.where(happens[:, 4:], shift, 0.0))


def _scaling(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return tf.linalg.diag(tf.stack([x, y], axis=1))  # [B, 2, 2]


def _rotation(angle: tf.Tensor) -> tf.Tensor:
    """Return counterclockwise rotations (on the screen, where y points down), [B, 2, 2]."""
    cos, sin = tf.cos(angle), tf.sin(angle)
    return tf.stack([tf.stack([cos, sin], axis=1), tf.stack([-sin, cos], axis=1)], axis=1)
