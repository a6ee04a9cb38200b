"""Convolutions with weights of each sample's own, for few outputs such as colours.

In plain TensorFlow: kernels gained 1 % of training and 3 % of sampling.
"""

import tensorflow as tf

from dnnlib.ops.tensors import as_float_tensor, shape_of


@tf.autograph.experimental.do_not_convert
def sample_conv2d(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate each sample with weights of its own, zeros around x; for few outputs.

    x: [B, H, W, I] of float32, bfloat16 or float16, weights: float32 [B, n, n, I, O] with an odd n
    -> float32 [B, H, W, O]. Differentiable to any order.
    """
    x, weights = as_float_tensor(x, "sample_conv2d"), tf.convert_to_tensor(weights)
    good = x.shape.rank == 4 and weights.shape.rank == 5
    good = good and weights.shape[1] == weights.shape[2] and weights.shape[1] % 2 == 1
    if not good or not weights.shape[:4:3].is_compatible_with(x.shape[::3]):
        raise ValueError(f"sample_conv2d: weights {weights.shape} do not fit x {x.shape}")
    # A product with the weights of all taps at once, whose results are then moved and added up.
    size, _, inputs, outputs = weights.shape[1:]
    _, height, width, _ = shape_of(x)
    by_input = tf.reshape(weights, [-1, size * size, inputs, outputs])
    by_input = tf.reshape(tf.transpose(by_input, [0, 2, 1, 3]), [-1, inputs, size**2 * outputs])
    pixels = tf.reshape(tf.cast(x, tf.float32), [-1, height * width, inputs])
    products = tf.reshape(tf.matmul(pixels, by_input), [-1, height, width, size**2 * outputs])
    return products if size == 1 else _sum_taps(products, size)


def _sum_taps(products: tf.Tensor, size: int) -> tf.Tensor:
    """Return the sums over n x n taps of the product of each, [B, H, W, n n O] -> [B, H, W, O].

    TensorFlow's own gradient would make an image for each tap.
    """

    @tf.custom_gradient
    def apply(products):
        outputs = products.shape[3] // size**2
        slices = [slice(tap * outputs, (tap + 1) * outputs) for tap in range(size**2)]
        return tf.add_n(_move_to_taps(products, size, slices)), lambda dy: _spread_taps(dy, size)

    return apply(products)


def _spread_taps(y: tf.Tensor, size: int) -> tf.Tensor:
    """Return the adjoint of `_sum_taps`, what y sends to each tap: [B, H, W, n n O]."""

    @tf.custom_gradient
    def apply(y):
        moved = _move_to_taps(y, size, [slice(None)] * size**2)
        return tf.concat(moved[::-1], axis=3), lambda v: _sum_taps(v, size)

    return apply(y)


def _move_to_taps(x: tf.Tensor, size: int, channels: list[slice]) -> list[tf.Tensor]:
    """Return what n x n taps meet at each position, of some channels for each tap."""
    _, height, width, _ = shape_of(x)
    margin = [size // 2, size // 2]
    padded = tf.pad(x, [[0, 0], margin, margin, [0, 0]])
    return [
        padded[:, i : i + height, j : j + width, channels[size * i + j]]
        for i in range(size)
        for j in range(size)
    ]
