"""Positions outside a picture, mirrored back into it."""

import tensorflow as tf


def fold(position: tf.Tensor, size: int) -> tf.Tensor:
    """Reflect at the centres of the first and the last pixel, as often as needed.

    Positions in pixels, of any shape and of a float or integer type; the result is in
    [0, size - 1]. Positions inside stay exactly as they are.
    """
    last = max(size - 1, 1)
    return last - tf.abs(tf.math.floormod(position, 2 * last) - last)
