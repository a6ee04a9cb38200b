"""The attention ops against plain NumPy in float64, and their derivatives against differences."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops

RANDOM = np.random.default_rng(11)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def probabilities(x, places, weights, bias, heads):
    x = np.float64(x)
    rows = np.concatenate([x, np.broadcast_to(places, (len(x), *places.shape))], axis=2)
    scores = rows @ np.swapaxes(np.float64(weights), 1, 2) + bias[:, None]
    scores = scores.reshape(*scores.shape[:2], heads, -1)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).reshape(*scores.shape[:2], -1)


def gain(x, shares, values, normalize):
    x = np.float64(x)
    if normalize:
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)
    left = np.concatenate([shares, np.ones((*shares.shape[:2], 1))], axis=2)
    return x * (left @ np.float64(values))


# Positions around blocks of 64 and units of 1024; widths around vectors of 16.
PROBABILITIES = [  # batch, positions, channels, place channels, heads, columns, shared
    (2, 16, 16, 8, 1, 16, False),
    (3, 65, 33, 0, 2, 5, False),
    (2, 1030, 32, 32, 1, 16, True),
    (1, 7, 3, 4, 4, 32, True),
    (2, 64, 64, 16, 1, 2, False),
]


def probability_inputs(case):
    batch, positions, channels, place_channels, heads, columns, shared = case
    sets = 1 if shared else batch
    return [
        normal(batch, positions, channels),
        normal(positions, place_channels),
        np.float32(channels**-0.5) * normal(sets, heads * columns, channels + place_channels),
        normal(sets, heads * columns),
    ], {"heads": heads}


GAINS = [  # batch, positions, channels, columns
    (2, 16, 16, 16),
    (3, 65, 33, 5),
    (2, 1030, 32, 17),
    (1, 7, 3, 40),
]


def gain_inputs(case, normalize):
    batch, positions, channels, columns = case
    shares = np.abs(normal(batch, positions, columns))
    values = normal(batch, columns + 1, channels)
    return [normal(batch, positions, channels), shares, values], {"normalize": normalize}


CASES = [(ops.attention_probabilities, probabilities, probability_inputs(c)) for c in PROBABILITIES]
CASES += [(ops.attention_gain, gain, gain_inputs(c, n)) for c in GAINS for n in (False, True)]


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
    arrays, options = gain_inputs((2, 65, 32, 16), True)
    x = tf.cast(arrays[0], dtype)
    y = ops.attention_gain(x, *map(tf.constant, arrays[1:]), **options)
    assert y.dtype == x.dtype
    expected = gain(tf.cast(x, tf.float32).numpy(), *arrays[1:], True)
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), expected, rtol=0.02, atol=0.01 * np.abs(expected).max()
    )
    arrays, options = probability_inputs(PROBABILITIES[0])
    shares = ops.attention_probabilities(tf.cast(arrays[0], dtype), *arrays[1:], **options)
    expected = probabilities(tf.cast(tf.cast(arrays[0], dtype), tf.float32).numpy(), *arrays[1:], 1)
    assert shares.dtype == tf.float32
    np.testing.assert_allclose(shares, expected, atol=0.01)


def test_wrong_shapes_are_told():
    x = normal(2, 4, 8)
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_probabilities(x, normal(4, 2), normal(1, 16, 8), normal(1, 16))
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_gain(x, normal(2, 4, 3), normal(2, 3, 8))
