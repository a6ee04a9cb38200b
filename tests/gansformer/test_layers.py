"""Layers against their definitions in NumPy and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal, stats

from dnnlib.random_streams import RandomStream
from gansformer.layers import Conv, Dense, ModulatedConv, dropout, minibatch_stddev
from gansformer.variables import Scope

DRAW = np.random.default_rng(0)
BATCH, SIZE, INPUTS, OUTPUTS, W_DIM = 3, 6, 4, 5, 7


def fill(layer: tf.Module) -> dict[str, np.ndarray]:
    """Give all variables of a layer random values, and return these by name."""
    for variable in layer.variables:
        variable.assign(DRAW.standard_normal(variable.shape))
    return {v.name.removesuffix(":0"): v.numpy().astype(np.float64) for v in layer.variables}


def correlate(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Cross-correlate x [H, W, I] with weight [kh, kw, I, O], zeros around x."""
    return np.stack(
        [
            sum(
                signal.correlate2d(x[..., i], weight[..., i, o], mode="same")
                for i in range(x.shape[2])
            )
            for o in range(weight.shape[3])
        ],
        axis=-1,
    )


def lrelu(x: np.ndarray) -> np.ndarray:
    return np.sqrt(2) * np.where(x > 0, x, 0.2 * x)


@pytest.mark.parametrize("lr_multiplier", [1.0, 0.01])
def test_dense_scales_its_weights_when_it_uses_them(lr_multiplier):
    layer = Dense(Scope(0), INPUTS, OUTPUTS, activation="lrelu", lr_multiplier=lr_multiplier)
    assert layer.weight.numpy().std() == pytest.approx(1 / lr_multiplier, rel=0.5)
    values = fill(layer)
    x = DRAW.standard_normal([BATCH, 2, INPUTS]).astype(np.float32)
    weight = values["weight"] * lr_multiplier / np.sqrt(INPUTS)
    expected = lrelu(x @ weight + values["bias"] * lr_multiplier)
    np.testing.assert_allclose(layer(tf.constant(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_convolution(size):
    layer = Conv(Scope(0), INPUTS, OUTPUTS, size, activation="lrelu", gain=0.5)
    values = fill(layer)
    x = DRAW.standard_normal([BATCH, SIZE, SIZE, INPUTS]).astype(np.float32)
    weight = values["weight"] / np.sqrt(size * size * INPUTS)
    expected = [0.5 * lrelu(correlate(image, weight) + values["bias"]) for image in x]
    np.testing.assert_allclose(layer(tf.constant(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_has_weights_for_each_sample(demodulate):
    """Karras et al. (2020), Eqs. 1 and 3."""
    options = {"w_dim": W_DIM, "style": True, "demodulate": demodulate}
    layer = ModulatedConv(Scope(0), INPUTS, OUTPUTS, 3, **options)
    values = fill(layer)
    x = DRAW.standard_normal([BATCH, SIZE, SIZE, INPUTS]).astype(np.float32)
    y = DRAW.standard_normal([BATCH, W_DIM]).astype(np.float32)
    styles = y @ values["mod_weight"] / np.sqrt(W_DIM) + values["mod_bias"] + 1
    expected = []
    for image, style in zip(x, styles, strict=True):
        weight = values["weight"] / np.sqrt(9 * INPUTS) * style[:, None]
        if demodulate:
            weight = weight / np.sqrt((weight**2).sum((0, 1, 2)) + 1e-8)
        expected.append(correlate(image, weight))
    result = layer(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-5)


def test_without_style_the_convolution_is_a_plain_one():
    layer = ModulatedConv(Scope(0), INPUTS, OUTPUTS, 3, w_dim=W_DIM, style=False)
    values = fill(layer)
    x = DRAW.standard_normal([BATCH, SIZE, SIZE, INPUTS]).astype(np.float32)
    expected = [correlate(image, values["weight"] / np.sqrt(9 * INPUTS)) for image in x]
    result = layer(tf.constant(x), tf.ones([BATCH, W_DIM]))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("shape", [(8, 3, 3, 6), (8, 5, 6)])
@pytest.mark.parametrize("group, channels", [(4, 1), (2, 2), (16, 1)])
def test_minibatch_stddev(shape, group, channels):
    x = DRAW.standard_normal(shape).astype(np.float32)
    result = minibatch_stddev(tf.constant(x), group_size=group, channels=channels).numpy()
    np.testing.assert_array_equal(result[..., : shape[-1]], x)
    groups = shape[0] // min(group, shape[0])
    for m in range(groups):
        for part, features in enumerate(np.split(x[m::groups], channels, axis=-1)):
            expected = np.sqrt(features.astype(np.float64).var(axis=0) + 1e-8).mean()
            np.testing.assert_allclose(
                result[m::groups, ..., shape[-1] + part], expected, rtol=1e-5
            )


def test_dropout_keeps_the_mean_and_drops_whole_columns():
    """Half the rate for single elements, half for columns; what stays is enlarged."""
    random = RandomStream("test", tf.range(300))
    dropped = dropout(tf.ones([300, 2, 20, 5]), 0.4, random).numpy()
    assert set(np.round(np.unique(dropped), 4)) == {0, np.float32(round(1 / 0.8**2, 4))}
    np.testing.assert_allclose(dropped.mean(), 1, atol=0.03)
    empty = (dropped == 0).all(axis=2).mean()
    assert stats.binomtest(round(empty * 3000), 3000, 0.2).pvalue > 1e-3
    assert dropout(dropped, 0.4, None) is dropped
