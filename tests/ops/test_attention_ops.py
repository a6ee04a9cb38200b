"""The attention ops against plain NumPy in float64, and their derivatives against differences."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops

RANDOM = np.random.default_rng(11)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def probabilities(x, weights, row_scores, column_scores, heads):
    scores = np.float64(x) @ np.swapaxes(np.float64(weights), 1, 2)
    places = row_scores[:, :, None] + np.float64(column_scores[:, None])
    scores = (scores + places.reshape(scores.shape)).reshape(*scores.shape[:2], heads, -1)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).reshape(*scores.shape[:2], -1)


def gain(x, weights, row_scores, column_scores, scale, values, heads, normalize):
    """The features and the probabilities, side by side: one array [B, F, C + A T]."""
    shares = probabilities(x, weights, row_scores, column_scores, heads)
    u = np.float64(x) * scale[:, None]
    if normalize:
        u = u / np.sqrt((u**2).mean(-1, keepdims=True) + 1e-8)
    left = np.concatenate([shares, np.ones((*shares.shape[:2], 1))], axis=2)
    return np.concatenate([u * (left @ np.float64(values)), shares], axis=2)


def attention_gain(*arrays, **options):
    return tf.concat(ops.attention_gain(*arrays, **options), axis=2)


# Positions around blocks of 64 and units of 1024; widths around vectors of 16.
SHAPES = [  # batch, rows, columns, channels, heads, targets
    (2, 4, 4, 16, 1, 16),
    (3, 65, 1, 33, 2, 5),
    (2, 17, 64, 32, 1, 16),
    (1, 1, 7, 3, 4, 32),
    (2, 2, 1030, 8, 1, 16),
    (2, 32, 2, 64, 2, 16),
]


def probability_inputs(case):
    batch, rows, columns, channels, heads, targets = case
    return [
        normal(batch, rows * columns, channels),
        np.float32(channels**-0.5) * normal(batch, heads * targets, channels),
        normal(batch, rows, heads * targets),
        normal(batch, columns, heads * targets),
    ], {"heads": heads}


def gain_inputs(case, normalize):
    batch, _, _, channels, heads, targets = case
    arrays, options = probability_inputs(case)
    factors = [normal(batch, channels), normal(batch, heads * targets + 1, channels)]
    return arrays + factors, options | {"normalize": normalize}


CASES = [(ops.attention_probabilities, probabilities, probability_inputs(c)) for c in SHAPES]
CASES += [(attention_gain, gain, gain_inputs(c, n)) for c in SHAPES for n in (False, True)]


@pytest.mark.parametrize(("operation", "definition", "inputs"), CASES)
def test_value(live, operation, definition, inputs):
    arrays, options = inputs
    expected = definition(*arrays, *options.values())
    actual = tf.function(operation)(*map(tf.constant, arrays), **options)
    np.testing.assert_allclose(actual, expected, atol=2e-6 * np.abs(expected).max())


def slope(definition, arrays, directions, weights, options):
    """d/dt of sum(weights * definition(arrays + t directions)) at t = 0, by differences."""

    def at(t):
        moved = [np.float64(a) + t * d for a, d in zip(arrays, directions, strict=True)]
        return (weights * definition(*moved, *options.values())).sum()

    t = 1e-5
    return (8 * (at(t) - at(-t)) - (at(2 * t) - at(-2 * t))) / (12 * t)


@pytest.mark.parametrize(("operation", "definition", "inputs"), CASES)
def test_derivatives(live, operation, definition, inputs):
    """The first derivative by each input, and the second along a direction, by differences."""
    arrays, options = inputs
    tensors = [tf.constant(a) for a in arrays]
    weights = normal(*definition(*arrays, *options.values()).shape)
    directions = [normal(*a.shape) for a in arrays]

    def run(*tensors):
        with tf.GradientTape() as outer:
            outer.watch(tensors)
            with tf.GradientTape() as inner:
                inner.watch(tensors)
                y = operation(*tensors, **options)
            first = inner.gradient(y, tensors, tf.constant(weights))
            along = sum(tf.reduce_sum(g * d) for g, d in zip(first, directions, strict=True))
        return first, outer.gradient(along, tensors)

    first, second = tf.function(run)(*tensors)
    for i, gradient in enumerate(first):
        alone = [d if i == j else 0 * d for j, d in enumerate(directions)]
        expected = slope(definition, arrays, alone, weights, options)
        size = np.linalg.norm(gradient) * np.linalg.norm(directions[i]) + 1
        assert abs(float(tf.reduce_sum(gradient * directions[i])) - expected) < 1e-5 * size

    def first_along(*moved_and_options):
        moved = moved_and_options[: len(arrays)]
        return np.array(slope(definition, moved, directions, weights, options))

    t = 1e-3
    ends = [
        first_along(*[np.float64(a) + s * d for a, d in zip(arrays, directions, strict=True)])
        for s in (t, -t)
    ]
    expected = (ends[0] - ends[1]) / (2 * t)
    actual = sum(float(tf.reduce_sum(g * d)) for g, d in zip(second, directions, strict=True))
    scale = sum(
        np.linalg.norm(g) * np.linalg.norm(d) for g, d in zip(second, directions, strict=True)
    )
    assert abs(actual - expected) < 1e-3 * abs(expected) + 1e-5 * scale


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(live, dtype):
    arrays, options = gain_inputs((2, 5, 13, 32, 1, 16), True)
    x = tf.cast(arrays[0], dtype)
    y, shares = ops.attention_gain(x, *map(tf.constant, arrays[1:]), **options)
    assert y.dtype == x.dtype and shares.dtype == tf.float32
    expected = gain(tf.cast(x, tf.float32).numpy(), *arrays[1:], *options.values())
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), expected[..., :32], rtol=0.02, atol=0.01 * np.abs(expected).max()
    )
    np.testing.assert_allclose(shares, expected[..., 32:], atol=0.01)
    alone = ops.attention_probabilities(x, *arrays[1:4], heads=1)
    np.testing.assert_array_equal(alone, shares)


def test_large_float16_features_have_a_norm(live):
    """Their squares are beyond the range of float16."""
    arrays, options = gain_inputs((2, 4, 4, 32, 1, 16), True)
    large = tf.cast(1000 * arrays[0], tf.float16)
    arrays[1] /= 1000
    y, _ = ops.attention_gain(large, *map(tf.constant, arrays[1:]), **options)
    expected = gain(tf.cast(large, tf.float32).numpy(), *arrays[1:], *options.values())
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), expected[..., :32], rtol=0.02, atol=0.01 * np.abs(y).max()
    )


def test_wrong_shapes_are_told():
    x = normal(2, 4, 8)
    fitting = normal(2, 3, 8), normal(2, 2, 3), normal(2, 2, 3)
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_probabilities(x, normal(2, 16, 8), normal(2, 2, 16), normal(2, 3, 16))
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_gain(x, *fitting, normal(2, 8), normal(2, 3, 8))
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_gain(x, *fitting, normal(2, 7), normal(2, 4, 8))
