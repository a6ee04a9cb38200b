"""Positions outside an image, reflected back into it."""

import tensorflow as tf


def fold(position: tf.Tensor, size: int) -> tf.Tensor:
    """Reflect at the centres of the first and the last pixel, as often as needed.

    Positions in pixels, float32 of any shape; the result is in [0, size - 1], but for rounding.
    """
    last = max(size - 1, 1)
    position -= 2 * last * tf.floor(position / (2 * last))  # floormod takes twice as long
    return last - tf.abs(position - last)
