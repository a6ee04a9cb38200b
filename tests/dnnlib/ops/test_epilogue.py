"""What ends a layer (scale, noise, bias, activation), also after attention, against NumPy."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops
from dnnlib.ops import Epilogue
from tests.derivatives import check_by_differences
from tests.dnnlib.ops.test_attention_gain import SHAPES, gain, gain_inputs, normal

# (activation, gain): the first three have a form of their own in the kernels.
ENDS = [("lrelu", 1.3), ("linear", 0.7), ("linear", 1.0), ("swish", 1.1), ("relu", 2.0)]
ACTIVATE = {
    "linear": lambda u: u,
    "lrelu": lambda u: np.where(u > 0, u, 0.2 * u),
    "relu": lambda u: np.maximum(u, 0),
    "swish": lambda u: u / (1 + np.exp(-u)),
}
SLOPES = {
    "lrelu": lambda u: np.where(u > 0, 1, 0.2),
    "swish": lambda u: (1 + np.exp(-u) * (1 + u)) / (1 + np.exp(-u)) ** 2,
}
LAYERS = [(3, 4), (2, 5, 3), (2, 7, 9, 37), (1, 70, 31, 16)]


def layer(x, scale, noise, bias, activation, factor):
    scale = scale.reshape(scale.shape[0], *[1] * (x.ndim - 2), scale.shape[1])
    return factor * ACTIVATE[activation](np.float64(x) * scale + noise + bias)


def finish_layer(x, scale, noise, bias, activation, factor):
    epilogue = Epilogue(noise, bias, activation, factor)
    return ops.finish_layer(x, epilogue, scale=scale)


def attention(*arrays, heads, normalize, activation, factor):
    *arrays, noise, bias = arrays
    both = gain(*arrays, heads, normalize)
    width = len(bias)
    ended = factor * ACTIVATE[activation](both[..., :width] + noise + bias)
    return np.concatenate([ended, both[..., width:]], axis=2)


def attention_gain(*arrays, heads, normalize, activation, factor):
    *arrays, noise, bias = arrays
    epilogue = Epilogue(noise, bias, activation, factor)
    options = {"heads": heads, "normalize": normalize, "epilogue": epilogue}
    return tf.concat(ops.attention_gain(*arrays, **options), axis=2)


def layer_inputs(shape, samples):
    noise = normal(samples or shape[0], *shape[1:-1], 1)
    return [normal(*shape), normal(shape[0], shape[-1]), noise, normal(shape[-1])]


def attention_inputs(case, samples, normalize):
    batch, rows, columns, channels, *_ = case
    arrays, options = gain_inputs(case, normalize)
    return [*arrays, normal(samples or batch, rows * columns, 1), normal(channels)], options


CASES = [
    (finish_layer, layer, layer_inputs(shape, samples), {"activation": a, "factor": f})
    for shape in LAYERS
    for samples in (1, None)
    for a, f in ENDS
]
CASES += [
    (attention_gain, attention, inputs, options | {"activation": a, "factor": f})
    for case in SHAPES
    for inputs, options in (attention_inputs(case, 1, False), attention_inputs(case, None, True))
    for a, f in ENDS
]


@pytest.mark.parametrize(("operation", "definition", "arrays", "options"), CASES)
def test_value(live, operation, definition, arrays, options):
    expected = definition(*arrays, **options)
    actual = tf.function(operation)(*map(tf.constant, arrays), **options)
    np.testing.assert_allclose(actual, expected, atol=2e-6 * np.abs(expected).max())


def away_from_zero(definition, arrays, options):
    """Move the bias so that no sum lies where a slope jumps, and some on each side of it."""
    *arrays, bias = arrays
    options = options | {"activation": "linear", "factor": 1.0}
    sums = definition(*arrays, bias, **options)[..., : len(bias)].reshape(-1, len(bias))
    ordered = np.sort(sums, axis=0)
    quarter = len(ordered) // 4
    gaps = np.diff(ordered, axis=0)[quarter : len(ordered) - 1 - quarter]
    widest = quarter + gaps.argmax(axis=0)
    below, above = (ordered[widest + i, range(len(bias))] for i in (0, 1))
    return [*arrays, bias - np.float32((below + above) / 2)]


# Differences see every jump within their step, so that few sums may be near one.
SMALL = [case for case in CASES if case[2][0].size < 3000]


@pytest.mark.parametrize(("operation", "definition", "arrays", "options"), SMALL)
def test_derivatives(live, operation, definition, arrays, options):
    check_by_differences(
        partial(operation, **options),
        partial(definition, **options),
        away_from_zero(definition, arrays, options),
        step=1e-4,
    )


@pytest.mark.parametrize("activation", ["lrelu", "swish"])
def test_without_noise_or_scale(live, activation):
    x, scale, _, bias = layer_inputs((2, 5, 4, 16), None)
    epilogue = Epilogue(None, tf.constant(bias), activation, 1.5)
    for factors in (scale, None):
        tensors = [tf.constant(x), epilogue.bias]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = ops.finish_layer(tensors[0], epilogue, scale=factors)
        dx, dbias = tape.gradient(y, tensors)
        used = np.ones_like(scale) if factors is None else factors
        nothing = np.zeros(1, np.float32)
        np.testing.assert_allclose(
            y, layer(x, used, nothing, bias, activation, 1.5), rtol=1e-5, atol=1e-6
        )
        sums = np.float64(x) * used[:, None, None] + bias
        slopes = 1.5 * SLOPES[activation](sums)
        np.testing.assert_allclose(dx, slopes * used[:, None, None], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(dbias, slopes.sum(axis=(0, 1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2**-8), ("float16", 2**-10)])
def test_sixteen_bits_are_rounded_once(live, dtype, tolerance):
    x, scale, noise, bias = layer_inputs((2, 6, 5, 24), None)
    x = tf.cast(x, dtype)
    y = finish_layer(x, tf.constant(scale), tf.constant(noise), tf.constant(bias), "lrelu", 1.4)
    assert y.dtype == x.dtype
    exact = layer(tf.cast(x, tf.float32).numpy(), scale, noise, bias, "lrelu", 1.4)
    np.testing.assert_allclose(tf.cast(y, tf.float64), exact, rtol=tolerance, atol=1e-6)


def test_wrong_shapes_are_reported():
    x, scale, noise, bias = layer_inputs((2, 6, 5, 8), None)
    with pytest.raises(ValueError, match="bias .* does not fit"):
        finish_layer(x, scale, tf.constant(noise), tf.constant(bias[1:]), "lrelu", 1.0)
    with pytest.raises(ValueError, match="noise .* is not"):
        finish_layer(x, scale, tf.constant(noise[:, 1:]), tf.constant(bias), "lrelu", 1.0)
    with pytest.raises(ValueError, match="scale .* is not"):
        finish_layer(x, scale[:, 1:], tf.constant(noise), tf.constant(bias), "lrelu", 1.0)
    empty = finish_layer(x[:0], scale[:0], tf.constant(noise[:0]), tf.constant(bias), "lrelu", 1.0)
    assert empty.shape == (0, 6, 5, 8)
