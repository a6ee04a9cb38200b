"""Synthesis: what a layer does with its noise, bias and slice of w."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from dnnlib.ops import set_implementation
from dnnlib.random_streams import RandomStream
from gansformer.bipartite import Components
from gansformer.canvas import Canvas
from gansformer.config import GeneratorConfig
from gansformer.stacked import layer_factors
from gansformer.synthesis import Inputs, SynthesisLayer, ToRgb
from gansformer.variables import Scope

CONFIG = GeneratorConfig(latent_size=6, channel_base=32, channel_max=8)
DRAW = np.random.default_rng(0)


@pytest.fixture(params=["auto", "reference"])
def form(request):
    set_implementation(request.param)
    yield request.param
    set_implementation("auto")


def test_layer_without_attention(form):
    """lrelu(convolution + strength * noise + bias), with the gain of the activation."""
    options = {"index": 0, "inputs": 8, "position_dim": 0, "first_attention": False, "up": False}
    layer = SynthesisLayer(Scope(0), CONFIG, Canvas(8), **options, gain=0.5)
    layer.noise_strength.assign(0.7)
    layer.bias.assign(DRAW.standard_normal(8))
    x = tf.constant(DRAW.standard_normal([2, 4, 4, 8]), tf.float32)
    w = tf.constant(DRAW.standard_normal([2, 5, 6]), tf.float32)
    noise = tf.constant(DRAW.standard_normal([2, 4, 4, 1]), tf.float32)
    components, styles = Components(None, None), tf.transpose(w, [1, 0, 2])  # [L, B, w_dim]
    factors = {}
    if form == "auto":
        factors = layer_factors([layer], styles, None, components, None)
    inputs = Inputs(None, factors, None, [noise], None)
    result, _ = layer(x, tf.unstack(styles), inputs, components)
    y = layer.conv(x, w[:, 1]).numpy() + 0.7 * noise.numpy() + layer.bias.numpy()
    expected = 0.5 * np.sqrt(2) * np.where(y > 0, y, 0.2 * y)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("extra", [False, True])
def test_colours_are_float32_products(form, extra):
    layer = ToRgb(Scope(0), CONFIG, 8, 3, extra=extra)
    layer.bias.assign([0.1, 0.2, 0.3])
    x = tf.constant(DRAW.standard_normal([2, 8, 8, 8]), tf.bfloat16)
    styles = [tf.constant(DRAW.standard_normal([2, 6]), tf.float32) for _ in range(2)]
    rgb = layer(x, *styles)
    assert rgb.dtype == tf.float32
    features = tf.cast(x, tf.float32)
    features = layer.extra(features, styles[1]) if extra else features
    scale = styles[0] @ layer.conv.modulation.weight.numpy() / np.sqrt(6) + 1
    expected = np.einsum("bhwi,bi,io->bhwo", features, scale, layer.conv.weight[0, 0] / np.sqrt(8))
    np.testing.assert_allclose(rgb, expected + [0.1, 0.2, 0.3], rtol=1e-4, atol=1e-4)


def test_noise_is_normal_and_belongs_to_the_image(tiny_generator):
    network = tiny_generator.synthesis_network
    maps = network.random_noise(RandomStream("test", tf.range(40, dtype=tf.int64)))
    assert [m.shape[1:] for m in maps] == [(s, s, 1) for s in (4, 8, 8, 16, 16)]
    values = np.concatenate([np.ravel(m) for m in maps])
    assert stats.kstest(values, "norm").pvalue > 1e-3
    again = network.random_noise(RandomStream("test", tf.constant([7], tf.int64)))
    for all_maps, one in zip(maps, again, strict=True):
        np.testing.assert_array_equal(all_maps[7:8], one)


def test_layer_l_uses_slice_l_plus_1(tiny_generator):
    """What changes with slice 3 of w is layer 2, and what follows it."""
    draw = np.random.default_rng(0)
    shape = [1, tiny_generator.config.latents, tiny_generator.layers, 8]
    w = draw.standard_normal(shape).astype(np.float32)
    other = w.copy()
    other[:, :, 3] += 1
    before, after = (
        tiny_generator.synthesis(v, noise="none", return_attention=True) for v in (w, other)
    )
    changes = [
        float(np.abs(a - b).max()) for a, b in zip(before.attention, after.attention, strict=True)
    ]
    assert changes[0] == changes[1] == 0
    assert min(changes[2:]) > 1e-4
