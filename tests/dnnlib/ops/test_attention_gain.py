"""attention_gain against plain NumPy in float64, and their derivatives against differences."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops
from tests.derivatives import check_by_differences

from .definition import attention_gain as gain

RANDOM = np.random.default_rng(11)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def attention_gain(*arrays, **options):
    return tf.concat(ops.attention_gain(*arrays, **options), axis=2)


# Positions around blocks of 64 and units of 1024; widths around vectors of 16.
SHAPES = [  # batch, rows, columns, channels, heads, keys
    (2, 4, 4, 16, 1, 16),
    (3, 65, 1, 33, 2, 5),
    (2, 17, 64, 32, 1, 16),
    (1, 1, 7, 3, 4, 32),
    (2, 2, 1030, 8, 1, 16),
    (2, 32, 2, 64, 2, 16),
]


def gain_inputs(case, normalize):
    batch, rows, columns, channels, heads, keys = case
    return [
        normal(batch, rows * columns, channels),
        np.float32(channels**-0.5) * normal(batch, heads * keys, channels),
        normal(batch, rows, heads * keys),
        normal(batch, columns, heads * keys),
        normal(batch, channels),
        normal(batch, heads * keys + 1, channels),
    ], {"heads": heads, "normalize": normalize}


CASES = [gain_inputs(case, normalize) for case in SHAPES for normalize in (False, True)]


@pytest.mark.parametrize(("arrays", "options"), CASES)
def test_value(live, arrays, options):
    expected = gain(*arrays, **options)
    actual = tf.function(attention_gain)(*map(tf.constant, arrays), **options)
    np.testing.assert_allclose(actual, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("arrays", "options"), CASES)
def test_derivatives(live, arrays, options):
    check_by_differences(partial(attention_gain, **options), partial(gain, **options), arrays)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(live, dtype):
    arrays, options = gain_inputs((2, 5, 13, 32, 1, 16), True)
    x = tf.cast(arrays[0], dtype)
    y, attended = ops.attention_gain(x, *map(tf.constant, arrays[1:]), **options)
    assert y.dtype == x.dtype and attended.dtype == tf.float32
    expected = gain(tf.cast(x, tf.float32).numpy(), *arrays[1:], **options)
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), expected[..., :32], rtol=0.02, atol=0.01 * np.abs(expected).max()
    )
    np.testing.assert_allclose(attended, expected[..., 32:], atol=0.01)


def test_large_float16_features_have_a_norm(live):
    """Their squares are beyond the range of float16."""
    arrays, options = gain_inputs((2, 4, 4, 32, 1, 16), True)
    large = tf.cast(1000 * arrays[0], tf.float16)
    arrays[1] /= 1000
    y, _ = ops.attention_gain(large, *map(tf.constant, arrays[1:]), **options)
    expected = gain(tf.cast(large, tf.float32).numpy(), *arrays[1:], **options)
    np.testing.assert_allclose(
        tf.cast(y, tf.float32), expected[..., :32], rtol=0.02, atol=0.01 * np.abs(y).max()
    )


def test_wrong_shapes_are_reported():
    x = normal(2, 4, 8)
    fitting = normal(2, 3, 8), normal(2, 2, 3), normal(2, 2, 3)
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_gain(
            x, *(normal(*shape) for shape in [(2, 3, 8), (2, 2, 3), (2, 3, 3), (2, 8), (2, 4, 8)])
        )
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_gain(x, *fitting, normal(2, 8), normal(2, 3, 8))
    with pytest.raises(ValueError, match="do not fit x"):
        ops.attention_gain(x, *fitting, normal(2, 7), normal(2, 4, 8))
