"""upfirdn2d against its definition over shapes, factors, filters and number types."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops

from . import definition

RANDOM = np.random.default_rng(5)
BINOMIAL = np.array([1, 3, 3, 1], np.float32) / 8
FULL = RANDOM.normal(size=(3, 4)).astype(np.float32)
GEOMETRIES = [
    (1, 1, (2, 1, 2, 1)),
    (2, 1, (2, 1, 2, 1)),
    (1, 2, (1, 1, 1, 1)),
    (2, 2, (5, 7, 6, 5)),
    ((3, 1), (1, 2), (4, 3, -1, 2)),
    (1, 1, (-1, 2, 3, -2)),
    (2, 1, (9, 0, 0, 11)),  # rows and columns that see padding only
]


def pair(factor):
    return factor if isinstance(factor, tuple) else (factor, factor)


def expected(x, kernel, up, down, padding):
    kernel = np.asarray(kernel, np.float64)
    kernel = np.outer(kernel, kernel) if kernel.ndim == 1 else kernel
    return definition.upfirdn2d(
        np.asarray(x, np.float64), kernel, up=pair(up), down=pair(down), padding=padding
    )


@pytest.mark.parametrize("channels", [1, 3, 16, 37])
@pytest.mark.parametrize("kernel", [BINOMIAL, FULL, FULL[:1], np.float32([2.5])], ids=repr)
@pytest.mark.parametrize("up, down, padding", GEOMETRIES)
def test_value(live, channels, kernel, up, down, padding):
    x = RANDOM.normal(size=(2, 7, 9, channels)).astype(np.float32)
    y = ops.upfirdn2d(x, kernel, up=up, down=down, padding=padding)
    np.testing.assert_allclose(y, expected(x, kernel, up, down, padding), atol=2e-5)


@pytest.mark.parametrize("up, down, padding", GEOMETRIES)
def test_gradient_is_the_adjoint(live, up, down, padding):
    """<upfirdn2d(x), dy> = <x, gradient(dy)>, and the gradient's gradient is upfirdn2d again."""
    x = tf.constant(RANDOM.normal(size=(2, 7, 9, 5)).astype(np.float32))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = ops.upfirdn2d(x, BINOMIAL, up=up, down=down, padding=padding)
        dy = tf.constant(RANDOM.normal(size=y.shape).astype(np.float32))
        outer.watch(dy)
        dx = inner.gradient(y, x, dy)
        loss = tf.reduce_sum(dx * x)
    np.testing.assert_allclose(loss, np.sum(y * dy), rtol=1e-4, atol=1e-3)
    through_x, through_dy = outer.gradient(loss, [x, dy])
    np.testing.assert_allclose(through_x, dx, atol=1e-5)
    np.testing.assert_allclose(through_dy, y, atol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 2**-8), ("float16", 2**-11)])
@pytest.mark.parametrize("up, down, padding", GEOMETRIES[:3])
def test_sixteen_bits_round_once(live, dtype, tolerance, up, down, padding):
    x = tf.cast(RANDOM.normal(size=(2, 8, 9, 20)) * 8, dtype)
    y = ops.upfirdn2d(x, BINOMIAL, up=up, down=down, padding=padding)
    assert y.dtype == x.dtype
    exact = expected(tf.cast(x, tf.float64), BINOMIAL, up, down, padding)
    np.testing.assert_allclose(tf.cast(y, tf.float64), exact, rtol=1.01 * tolerance, atol=1e-5)


def test_unknown_sizes_work_in_a_traced_function(live):
    x = RANDOM.normal(size=(2, 6, 8, 3)).astype(np.float32)
    for shape in ([None, 6, 8, 3], [None, None, None, 3]):

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
        def down(image):
            with tf.GradientTape() as tape:
                tape.watch(image)
                y = ops.downsample2d(image, BINOMIAL)
            return y, tape.gradient(y, image)

        y, dx = down(x)
        np.testing.assert_allclose(y, ops.downsample2d(x, BINOMIAL), atol=1e-6)
        assert dx.shape == x.shape


def test_large_filter(live):
    kernel = RANDOM.normal(size=(30, 29)).astype(np.float32)
    x = RANDOM.normal(size=(1, 32, 31, 2)).astype(np.float32)
    np.testing.assert_allclose(
        ops.upfirdn2d(x, kernel), expected(x, kernel, 1, 1, (0, 0, 0, 0)), atol=2e-4
    )


def test_gain(live):
    x = RANDOM.normal(size=(1, 5, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(
        ops.upfirdn2d(x, BINOMIAL, gain=3.0), 3 * ops.upfirdn2d(x, BINOMIAL), rtol=1e-5
    )


def test_empty_batch():  # TensorFlow's own depthwise convolution returns a wrong shape here
    ops.set_implementation("native")
    assert ops.upfirdn2d(np.zeros((0, 5, 5, 2), np.float32), BINOMIAL).shape == (0, 2, 2, 2)
    ops.set_implementation("auto")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"up": 0}, "up must be"),
        ({"padding": (1, 2)}, "padding is"),
        ({"padding": (-3, 0, 0, 0)}, "smaller than"),
    ],
)
def test_bad_arguments_are_reported(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.upfirdn2d(np.zeros((1, 4, 4, 1), np.float32), BINOMIAL, **arguments)


def test_kernel_must_be_constant_and_input_a_float():
    with pytest.raises(TypeError, match="constant NumPy"):
        ops.upfirdn2d(np.zeros((1, 4, 4, 1), np.float32), tf.ones([2, 2]))
    with pytest.raises(TypeError, match="int32"):
        ops.upfirdn2d(np.zeros((1, 4, 4, 1), np.int32), BINOMIAL)
