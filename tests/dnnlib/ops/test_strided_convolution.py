"""Strided and transposed convolutions against sums over taps in float64, to second derivatives."""

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from dnnlib import ops
from dnnlib.ops.convolution import strided_conv2d, transposed_conv2d
from tests.derivatives import derivatives

RANDOM = np.random.default_rng(4)
TAPS = (1, 3, 3, 1)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def at_tap(large, tap):
    """The view of the large side that meets the small one through a tap."""
    a, e = divmod(tap, 3)
    height, width = (large.shape[1] - 1) // 2, (large.shape[2] - 1) // 2
    return large[:, a : a + 2 * height : 2, e : e + 2 * width : 2]


def strided(large, weights):  # weights: [3, 3, L, S]
    flat = np.float64(weights).reshape(9, *weights.shape[2:])
    return sum(np.tensordot(np.float64(at_tap(large, tap)), flat[tap], 1) for tap in range(9))


def transposed(small, weights):
    batch, height, width, _ = small.shape
    large = np.zeros((batch, 2 * height + 1, 2 * width + 1, weights.shape[2]))
    flat = np.float64(weights).reshape(9, *weights.shape[2:])
    for tap in range(9):
        at_tap(large, tap)[...] += np.tensordot(np.float64(small), flat[tap].T, 1)
    return large


def weight_gradient(large, small):
    parts = [
        np.tensordot(np.float64(at_tap(large, tap)), np.float64(small), ([0, 1, 2], [0, 1, 2]))
        for tap in range(9)
    ]
    return np.reshape(parts, (3, 3, large.shape[3], small.shape[3]))


def adjoint_weights(weights):
    """The weights [3, 3, S, L] with which the adjoint is a correlation, and back again."""
    return np.swapaxes(weights[::-1, ::-1], 2, 3)


def test_the_sums_are_what_scipy_computes():
    large, weights, small = normal(1, 7, 9, 2), normal(3, 3, 2, 3), normal(1, 3, 4, 3)
    y, spread = np.zeros((3, 4, 3)), np.zeros((7, 9, 2))
    zeros_between = np.zeros((5, 7, 3))
    zeros_between[::2, ::2] = small[0]
    for i, o in np.ndindex(2, 3):
        kernel = np.float64(weights[:, :, i, o])
        y[:, :, o] += scipy.signal.correlate2d(large[0, :, :, i], kernel, "valid")[::2, ::2]
        spread[:, :, i] += scipy.signal.convolve2d(zeros_between[:, :, o], kernel, "full")
    np.testing.assert_allclose(strided(large, weights)[0], y, atol=1e-12)
    np.testing.assert_allclose(transposed(small, weights)[0], spread, atol=1e-12)


# Small sides: one pixel, one row, remainders of 8 pixels, blocks of lines; channels around panels.
CASES = [
    ((1, 1, 1), 16, 16),
    ((5, 1, 4), 16, 48),
    ((5, 3, 1), 48, 16),
    ((2, 7, 6), 32, 64),
    ((5, 4, 4), 128, 128),
    ((1, 33, 19), 32, 48),
    ((9, 12, 17), 16, 32),
    ((2, 3, 5), 3, 8),
]


def check(results, expected, tolerance=5e-6):
    for actual, wanted in zip(results, expected, strict=True):
        actual = tf.cast(actual, tf.float64)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def draw(dtype, *shapes):
    """Random tensors, and their values in float64."""
    tensors = [tf.cast(normal(*shape), dtype) for shape in shapes]
    return tensors, [tf.cast(tensor, tf.float64).numpy() for tensor in tensors]


def check_strided(size, large, small, *, dtype=tf.float32, traced=True, **bounds):
    big, weights = (size[0], 2 * size[1] + 1, 2 * size[2] + 1, large), (3, 3, large, small)
    tensors, (x, w, dy, v, u) = draw(dtype, big, weights, (*size, small), big, weights)

    results = derivatives(
        lambda x, w: strided_conv2d(x, w, 2), tensors[:2], tensors[2], tensors[3:], traced=traced
    )
    expected = [
        strided(x, w),
        transposed(dy, w),
        weight_gradient(x, dy),
        transposed(dy, u),
        weight_gradient(v, dy),
        strided(v, w) + strided(x, u),
    ]
    check(results, expected, **bounds)


def check_transposed(size, large, small, *, dtype=tf.float32, traced=True, **bounds):
    big, weights = (size[0], 2 * size[1] + 1, 2 * size[2] + 1, large), (3, 3, small, large)
    tensors, (x, w, dy, v, u) = draw(dtype, (*size, small), weights, big, (*size, small), weights)

    results = derivatives(
        lambda x, w: transposed_conv2d(x, w, 2), tensors[:2], tensors[2], tensors[3:], traced=traced
    )
    expected = [
        transposed(x, adjoint_weights(w)),
        strided(dy, adjoint_weights(w)),
        adjoint_weights(weight_gradient(dy, x)),
        strided(dy, adjoint_weights(u)),
        adjoint_weights(weight_gradient(dy, v)),
        transposed(v, adjoint_weights(w)) + transposed(x, adjoint_weights(u)),
    ]
    check(results, expected, **bounds)


EITHER_WAY = pytest.mark.parametrize("check_one", [check_strided, check_transposed])


@pytest.mark.parametrize(("size", "large", "small"), CASES)
@pytest.mark.parametrize("traced", [False, True])
@EITHER_WAY
def test_value_and_derivatives(live, check_one, size, large, small, traced):
    check_one(size, large, small, traced=traced)


# The last derivative is the rounded sum of two that are rounded: at most three halves of a ulp off.
@pytest.mark.parametrize(("size", "large", "small"), CASES)
@EITHER_WAY
def test_bfloat16_is_rounded_at_the_end(live, check_one, size, large, small):
    check_one(size, large, small, dtype=tf.bfloat16, tolerance=1.5 * 2**-7)


def op_types(function, *inputs):
    def run(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = function(x, w)
        return tape.gradient(y, [x, w])

    graph = tf.function(run, autograph=False).get_concrete_function(*inputs).graph
    return {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize("function", [ops.upsample_conv2d, ops.conv_downsample2d])
def test_what_the_kernels_take_goes_to_them(live, function):
    """And what they do not take goes to TensorFlow: other channels, factors, types, even sizes."""

    def types(size, channels, factor, dtype):
        x, w = tf.zeros([2, *size, channels], dtype), tf.zeros([3, 3, channels, 16], dtype)
        return op_types(lambda x, w: function(x, w, TAPS, factor=factor), x, w)

    ours = {"GansformerTransposedConv3x3", "GansformerStridedConv3x3WeightGradient"}
    assert types((8, 6), 32, 2, tf.float32) >= ours or live == "reference"
    others = [types((8, 6), 24, 2, tf.float32), types((9, 9), 32, 3, tf.float32)]
    others.append(types((8, 6), 32, 2, tf.bfloat16))
    if function is ops.conv_downsample2d:
        others.append(types((8, 7), 32, 2, tf.float32))
    assert not any(found & ours for found in others)


@pytest.mark.parametrize("function", [ops.upsample_conv2d, ops.conv_downsample2d])
def test_the_same_bits_every_time(live, function):
    x, w = tf.constant(normal(6, 16, 16, 32)), tf.constant(normal(3, 3, 32, 48))

    def run():
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = function(x, w, TAPS)
        return [y, *tape.gradient(y, [x, w], tf.sin(y))]

    first = run()
    for _ in range(5):
        for a, b in zip(run(), first, strict=True):
            np.testing.assert_array_equal(a, b)


def test_empty_batches(live):
    x, w = tf.zeros([0, 4, 4, 16]), tf.constant(normal(3, 3, 16, 32))
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = transposed_conv2d(x, w, 2)
    assert y.shape == (0, 9, 9, 32)
    np.testing.assert_array_equal(tape.gradient(y, w), np.zeros(w.shape))


def test_images_of_unknown_size(live):
    """Traced for any size: the values are those of the known size."""
    x, w = normal(2, 6, 8, 16), normal(3, 3, 16, 32)
    signature = [tf.TensorSpec([None, None, None, 16], tf.float32)]
    unknown = tf.function(lambda x: transposed_conv2d(x, w, 2), input_signature=signature)
    np.testing.assert_allclose(unknown(x), transposed(x, adjoint_weights(w)), atol=1e-4)
