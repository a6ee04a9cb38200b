"""Convolutions with weights of each sample's own against SciPy, value to second derivatives."""

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from dnnlib import ops
from tests.derivatives import derivatives

RANDOM = np.random.default_rng(17)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def correlate(x, weights):
    """[B, H, W, I], [B, n, n, I, O] -> [B, H, W, O]."""
    y = np.zeros((*x.shape[:3], weights.shape[4]))
    for b, i, o in np.ndindex(len(x), *weights.shape[3:]):
        plane, kernel = np.float64(x[b, :, :, i]), np.float64(weights[b, :, :, i, o])
        y[b, :, :, o] += scipy.signal.correlate2d(plane, kernel, "same")
    return y


def adjoint(dy, weights):
    """What a correlation sends back to x: a correlation with the weights flipped."""
    return correlate(dy, np.swapaxes(weights[:, ::-1, ::-1], 3, 4))


def weight_gradient(x, dy, size):
    margin = size // 2
    padded = np.pad(np.float64(x), [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    taps = np.lib.stride_tricks.sliding_window_view(padded, x.shape[1:3], axis=(1, 2))
    return np.einsum("bneihw,bhwo->bneio", taps, np.float64(dy))


CASES = [  # batch, height, width, inputs, size, outputs
    (2, 8, 8, 32, 3, 3),
    (1, 1, 1, 16, 3, 1),
    (3, 5, 7, 48, 3, 3),
    (2, 70, 33, 16, 3, 2),
    (2, 9, 6, 16, 5, 4),
    (3, 13, 10, 32, 1, 3),
    (2, 6, 5, 20, 3, 3),
    (2, 4, 4, 16, 3, 7),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("traced", [False, True])
def test_value_and_derivatives(case, traced):
    batch, height, width, inputs, size, outputs = case
    x, v = normal(batch, height, width, inputs), normal(batch, height, width, inputs)
    w, u = (normal(batch, size, size, inputs, outputs) for _ in range(2))
    dy = normal(batch, height, width, outputs)

    results = derivatives(ops.sample_conv2d, [x, w], dy, [v, u], traced=traced)
    expected = [
        correlate(x, w), adjoint(dy, w), weight_gradient(x, dy, size),
        adjoint(dy, u), weight_gradient(v, dy, size), correlate(v, w) + correlate(x, u),
    ]  # fmt: skip
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_give_float32(dtype):
    x, w, dy = normal(2, 7, 6, 32), normal(2, 3, 3, 32, 3), normal(2, 7, 6, 3)
    x = tf.cast(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.sample_conv2d(x, tf.constant(w))
    assert y.dtype == tf.float32
    exact = tf.cast(x, tf.float32).numpy()
    np.testing.assert_allclose(y, correlate(exact, w), atol=1e-4)
    dx = tape.gradient(y, x, tf.constant(dy))
    assert dx.dtype == x.dtype
    wanted = adjoint(dy, w)
    np.testing.assert_allclose(
        tf.cast(dx, tf.float32), wanted, rtol=0, atol=2**-8 * np.abs(wanted).max()
    )


def test_the_same_bits_every_time():
    x, w = tf.constant(normal(3, 40, 40, 16)), tf.constant(normal(3, 3, 3, 16, 3))

    def run():
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = ops.sample_conv2d(x, w)
        return [y, *tape.gradient(y, [x, w], tf.sin(y))]

    first = run()
    for a, b in zip(run(), first, strict=True):
        np.testing.assert_array_equal(a, b)


def test_empty_batches_and_wrong_shapes():
    x, w = tf.zeros([0, 4, 4, 16]), tf.zeros([0, 3, 3, 16, 3])
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = ops.sample_conv2d(x, w)
    assert y.shape == (0, 4, 4, 3) and tape.gradient(y, w).shape == w.shape
    with pytest.raises(ValueError, match="do not fit"):
        ops.sample_conv2d(normal(2, 4, 4, 16), normal(2, 2, 2, 16, 3))
    with pytest.raises(ValueError, match="do not fit"):
        ops.sample_conv2d(normal(2, 4, 4, 16), normal(3, 3, 3, 16, 3))
