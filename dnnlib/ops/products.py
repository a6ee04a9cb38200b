"""Products of the last axis with one matrix.

TensorFlow's convolutions give the same for 1x1 filters, but on CPUs their gradients take up to two
and a half times as long as those of a matrix product.
"""

import tensorflow as tf


def matmul_last(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Multiply the last axis of x [..., I] by weights [I, O], as one matrix product."""
    if x.shape.rank == 2:
        return tf.matmul(x, weights)
    y = tf.matmul(tf.reshape(x, [-1, weights.shape[0]]), weights)
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], weights.shape[1:]], 0))


def conv1x1(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Convolve x [B, H, W, I] with weights [1, 1, I, O]."""
    return matmul_last(x, tf.reshape(weights, weights.shape[2:]))
