"""conv3x3 against SciPy's correlation in float64: value, first and second derivatives."""

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from dnnlib import ops
from tests.derivatives import derivatives

RANDOM = np.random.default_rng(3)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def correlate(x, weights):
    """x: [B, H, W, I], weights: [3, 3, I, O] -> float64 [B, H, W, O]."""
    y = np.zeros((*x.shape[:3], weights.shape[3]))
    for b, i, o in np.ndindex(x.shape[0], *weights.shape[2:]):
        y[b, :, :, o] += scipy.signal.correlate2d(
            np.float64(x[b, :, :, i]), np.float64(weights[:, :, i, o]), mode="same"
        )
    return y


def weight_gradient(x, dy):
    """What sum(correlate(x, w) * dy) sends to w."""
    height, width = x.shape[1:3]
    padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.stack(
        [
            np.stack(
                [
                    np.einsum(
                        "bhwi,bhwo->io", padded[:, a : a + height, e : e + width], np.float64(dy)
                    )
                    for e in range(3)
                ]
            )
            for a in range(3)
        ]
    )


def data_gradient(dy, weights):
    return correlate(dy, np.swapaxes(weights[::-1, ::-1], 2, 3))


# Sizes around the tiles of 4, below and above a block of tiles, and channels around the panels.
CASES = [
    ((2, 4, 4), 16, 16),
    ((1, 1, 1), 16, 48),
    ((3, 5, 3), 48, 16),
    ((2, 8, 9), 32, 64),
    ((9, 17, 12), 16, 32),
    ((1, 33, 70), 16, 16),
    ((2, 6, 6), 3, 8),
]


def check_value_and_derivatives(size, inputs, outputs, *, dtype, tolerance, traced):
    def draw(*shape):
        return tf.cast(normal(*shape), dtype)

    x, v, dy = draw(*size, inputs), draw(*size, inputs), draw(*size, outputs)
    w, u = draw(3, 3, inputs, outputs), draw(3, 3, inputs, outputs)

    results = derivatives(ops.conv3x3, [x, w], dy, [v, u], traced=traced)
    x, v, dy, w, u = (tf.cast(tensor, tf.float64).numpy() for tensor in (x, v, dy, w, u))
    expected = [
        correlate(x, w),
        data_gradient(dy, w),
        weight_gradient(x, dy),
        data_gradient(dy, u),
        weight_gradient(v, dy),
        correlate(v, w) + correlate(x, u),
    ]
    for actual, wanted in zip(results, expected, strict=True):
        assert actual.dtype == dtype
        actual = tf.cast(actual, tf.float64)
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize(("size", "inputs", "outputs"), CASES)
@pytest.mark.parametrize("traced", [False, True])
def test_value_and_derivatives(live, size, inputs, outputs, traced):
    options = {"dtype": tf.float32, "tolerance": 1e-5, "traced": traced}
    check_value_and_derivatives(size, inputs, outputs, **options)


# The last derivative is the rounded sum of two that are rounded: at most three halves of a ulp off.
@pytest.mark.parametrize(("size", "inputs", "outputs"), CASES)
def test_bfloat16_is_rounded_at_the_end(live, size, inputs, outputs):
    options = {"dtype": tf.bfloat16, "tolerance": 1.5 * 2**-7, "traced": True}
    check_value_and_derivatives(size, inputs, outputs, **options)


@pytest.mark.parametrize("live", ["native"], indirect=True)  # TensorFlow adds up in float16 on CPUs
@pytest.mark.parametrize(("size", "inputs", "outputs"), [c for c in CASES if c[1] % 16 == 0])
def test_float16_is_rounded_at_the_end(live, size, inputs, outputs):
    options = {"dtype": tf.float16, "tolerance": 1.5 * 2**-10, "traced": True}
    check_value_and_derivatives(size, inputs, outputs, **options)


def test_the_same_bits_every_time(live):
    x, dy = tf.constant(normal(16, 16, 16, 32)), tf.constant(normal(16, 16, 16, 32))
    w = tf.constant(normal(3, 3, 32, 32))

    def run():
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = ops.conv3x3(x, w)
        return [y, *tape.gradient(y, [x, w], dy)]

    first = run()
    for _ in range(5):
        for a, b in zip(run(), first, strict=True):
            np.testing.assert_array_equal(a, b)


def test_empty_batches(live):
    w = tf.constant(normal(3, 3, 16, 16))
    assert ops.conv3x3(tf.zeros([0, 4, 4, 16]), w).shape == (0, 4, 4, 16)


def test_wrong_shapes_are_reported():
    with pytest.raises(ValueError, match="do not fit x"):
        ops.conv3x3(normal(2, 4, 4, 16), normal(3, 3, 8, 16))
