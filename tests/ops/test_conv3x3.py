"""conv3x3 against SciPy's correlation in float64: value, first and second derivatives."""

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from dnnlib import ops

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
@pytest.mark.parametrize(
    ("size", "inputs", "outputs"),
    [
        ((2, 4, 4), 16, 16),
        ((1, 1, 1), 16, 48),
        ((3, 5, 3), 48, 16),
        ((2, 8, 9), 32, 64),
        ((9, 17, 12), 16, 32),
        ((1, 33, 70), 16, 16),
        ((2, 6, 6), 3, 8),
    ],
)
@pytest.mark.parametrize("traced", [False, True])
def test_value_and_derivatives(live, size, inputs, outputs, traced):
    x, v = normal(*size, inputs), normal(*size, inputs)
    dy, w = normal(*size, outputs), normal(3, 3, inputs, outputs)
    u = normal(*w.shape)

    def run(x, w, dy):
        with tf.GradientTape() as outer:
            outer.watch([x, w, dy])
            with tf.GradientTape() as inner:
                inner.watch([x, w])
                y = ops.conv3x3(x, w)
            dx, dw = inner.gradient(y, [x, w], dy)
            s = tf.reduce_sum(dx * v) + tf.reduce_sum(dw * u)
        return [y, dx, dw, *outer.gradient(s, [x, w, dy])]

    results = (tf.function(run) if traced else run)(*map(tf.constant, (x, w, dy)))
    expected = [
        correlate(x, w),
        data_gradient(dy, w),
        weight_gradient(x, dy),
        data_gradient(dy, u),
        weight_gradient(v, dy),
        correlate(v, w) + correlate(x, u),
    ]
    for actual, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


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


def test_sixteen_bits_and_empty_batches(live):
    w = tf.cast(normal(3, 3, 16, 16), tf.bfloat16)
    assert ops.conv3x3(tf.zeros([2, 4, 4, 16], tf.bfloat16), w).dtype == tf.bfloat16
    assert ops.conv3x3(tf.zeros([0, 4, 4, 16]), tf.cast(w, tf.float32)).shape == (0, 4, 4, 16)


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match="do not fit x"):
        ops.conv3x3(normal(2, 4, 4, 16), normal(3, 3, 8, 16))
