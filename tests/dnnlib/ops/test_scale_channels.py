"""scale_channels against plain NumPy: value, first and second derivatives, number types."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops
from tests.derivatives import derivatives

RANDOM = np.random.default_rng(9)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 3), (2, 7, 9, 37), (1, 70, 31, 16)])
def test_value_and_derivatives(live, shape, traced):
    x, dy, v = (tf.constant(normal(*shape)) for _ in range(3))
    scale, v_scale = (tf.constant(normal(shape[0], shape[-1])) for _ in range(2))

    results = derivatives(ops.scale_channels, [x, scale], dy, [v, v_scale], traced=traced)
    x, dy, v = (np.float64(t) for t in (x, dy, v))

    def spread(t):
        return np.float64(t).reshape(shape[0], *[1] * (len(shape) - 2), shape[-1])

    def gather(t):
        return t.reshape(shape[0], -1, shape[-1]).sum(1)

    expected = [
        x * spread(scale), dy * spread(scale), gather(dy * x),
        dy * spread(v_scale), gather(dy * v), v * spread(scale) + x * spread(v_scale),
    ]  # fmt: skip
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-4)


def test_third_derivative(live):
    """d3 / dx dscale ddy of sum((x * scale * dy)^2 / 2) has a known form."""
    x, scale = (tf.constant(normal(2, 3)) for _ in range(2))
    with tf.GradientTape() as t3:
        t3.watch(scale)
        with tf.GradientTape() as t2:
            t2.watch(x)
            with tf.GradientTape() as t1:
                t1.watch(x)
                loss = tf.reduce_sum(ops.scale_channels(x, scale) ** 2) / 2
            first = t1.gradient(loss, x)  # x scale^2
        second = t2.gradient(first, x)  # scale^2
    np.testing.assert_allclose(t3.gradient(second, scale), 2 * scale, rtol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 2**-8), ("float16", 2**-10)])
def test_sixteen_bits(live, dtype, tolerance):
    x = tf.cast(normal(2, 6, 5, 24), dtype)
    scale = tf.cast(normal(2, 24), dtype)
    y = ops.scale_channels(x, tf.cast(scale, tf.float32))
    assert y.dtype == x.dtype
    exact = tf.cast(x, tf.float64) * tf.cast(scale, tf.float64)[:, None, None]
    np.testing.assert_allclose(tf.cast(y, tf.float64), exact, rtol=tolerance)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_gradient_of_the_scale_is_summed_in_float32(live, dtype):
    """Summed in float16, these are wrong by 1e-2, and path length of float16 by 2e-2."""
    x, dy = (tf.cast(np.abs(normal(1, 64, 64, 8)), dtype) for _ in range(2))
    scale = tf.ones([1, 8])
    with tf.GradientTape() as tape:
        tape.watch(scale)
        y = ops.scale_channels(x, scale)
    found = tape.gradient(y, scale, dy)
    expected = np.sum(np.float64(x) * np.float64(dy), axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_wrong_shapes_are_reported():
    with pytest.raises(ValueError, match="is not \\[B, C\\]"):
        ops.scale_channels(normal(2, 3, 4), normal(2, 3))
    assert ops.scale_channels(normal(0, 3, 4), normal(0, 4)).shape == (0, 3, 4)
