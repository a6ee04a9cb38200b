"""The paper's own duplex attention against its equations, written down in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.errors import UserError
from dnnlib.ops import Epilogue
from gansformer.canvas import Canvas
from gansformer.config import GeneratorConfig, MappingConfig
from gansformer.generation import latents
from gansformer.layer_attention import Carried, Inputs, LayerAttention
from gansformer.positions import GridPositions
from gansformer.variables import Scope, variables_by_name
from tests.gansformer.conftest import TINY

BATCH, CHANNELS, WIDTH, COMPONENTS, HEADS = 3, 12, 8, 5, 2


def softmax(x, axis):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-8)


def attention(queries, keys, values):
    """Eq. 1, softmax(Q K^T / sqrt(h)) V, for each head by itself; all [B, N, d]."""
    results = [
        softmax(q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[-1]), axis=2) @ v
        for q, k, v in zip(
            *(np.split(t, HEADS, axis=2) for t in (queries, keys, values)), strict=True
        )
    ]
    return np.concatenate(results, axis=2)


class Reference:
    """The layer's equations with its variables: names as in the layer, weights scaled here."""

    def __init__(self, layer):
        self.values = {n: v.numpy().astype(np.float64) for n, v in variables_by_name(layer).items()}

    def linear(self, x, scope, name):
        weight = self.values[f"{scope}/weight_{name}"]
        return x @ weight / np.sqrt(len(weight)) + self.values[f"{scope}/bias_{name}"]

    def update_latents(self, y, x, y_place, x_place):
        """Y := u^a(Y, X) = LayerNorm(Y + a(Y, X))."""
        linear = lambda x, name: self.linear(x, "AttLayer_n2l", name)  # noqa: E731
        q = linear(y, "query") + linear(y_place, "from_pos")
        k = linear(x, "key") + linear(x_place, "to_pos")
        return layer_norm(y + linear(attention(q, k, linear(x, "value")), "out"))

    def collect(self, y, x, y_place, x_place):
        """K = a(Y, X)."""
        linear = lambda x, name: self.linear(x, "AttLayer_l2n/Centroids", name)  # noqa: E731
        return attention(
            linear(y, "query") + linear(y_place, "query_pos"),
            linear(x, "key") + linear(x_place, "key_pos"),
            linear(x, "value") + linear(x_place, "value_pos"),
        )

    def update_image(self, x, centroids, y, x_place):
        """X := u^d(X, Y) = gamma(a) * omega(X) + beta(a), a = A(X, K, V)."""
        linear = lambda x, name: self.linear(x, "AttLayer_l2n", name)  # noqa: E731
        q = linear(x, "query") + linear(x_place, "from_pos")
        gamma, beta = np.split(linear(attention(q, centroids, linear(y, "value")), "out"), 2, 2)
        return layer_norm(x) * (1 + gamma) + beta


def test_one_layer_follows_the_equations():
    config = GeneratorConfig(
        latent_size=WIDTH * COMPONENTS,
        components=COMPONENTS,
        attention="duplex",
        duplex="paper",
        integration="both",
        norm="layer",
        heads=HEADS,
        component_embedding=True,
        mapping=MappingConfig(),
    )
    positions = GridPositions(
        Scope(0), Canvas(8), kind="sinus", dim=8, init="uniform", directions=2
    )(2)
    layer = LayerAttention(Scope(0), config, 2, CHANNELS, position_dim=8, first=True)
    draw = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(draw.standard_normal(variable.shape))
    x = draw.standard_normal([BATCH, 4, 4, CHANNELS]).astype(np.float32)
    w = draw.standard_normal([BATCH, COMPONENTS + 1, 5, WIDTH]).astype(np.float32)
    embedding = draw.random([COMPONENTS, WIDTH]).astype(np.float32)
    inputs = Inputs(tf.constant(w), None, tf.constant(embedding), None, None)
    nothing = Epilogue(None, tf.zeros([CHANNELS]), "linear", 1.0)
    options = {"index": 0, "positions": positions, "inputs": inputs, "carried": Carried()}
    features, carried = layer(tf.constant(x), None, nothing, **options)

    reference, places = Reference(layer), (embedding, positions.encodings().numpy())
    flat, y = x.reshape(BATCH, 16, CHANNELS), w[:, :COMPONENTS, 1]
    y = reference.update_latents(y, flat, *places)
    centroids = reference.collect(y, flat, *places)
    expected = reference.update_image(flat, centroids, y, places[1])
    np.testing.assert_allclose(carried.latents, y, atol=1e-5)
    np.testing.assert_allclose(
        np.reshape(features, [BATCH, 16, CHANNELS]), expected, atol=2e-5, rtol=1e-4
    )
    np.testing.assert_allclose(tf.reduce_sum(carried.maps[0], -1), 1, atol=1e-5)
    assert carried.assignment is None


@pytest.fixture(scope="module")
def paper_networks():
    generator = {**TINY["generator"], "duplex": "paper"}
    return gansformer.build({**TINY, "generator": generator}, resolution=16, seed=3)


def test_latents_decide_where_they_are_used(paper_networks, tiny_generator):
    """In the paper's form a region latent shapes the maps; in the released form it does not."""
    changes = []
    for generator in (paper_networks[0], tiny_generator):
        z = latents(generator, [0]).numpy()
        w = generator.mapping(z).numpy()
        other = w.copy()
        other[:, 0] = -other[:, 0]
        maps = [
            generator.synthesis(v, noise="none", return_attention=True).attention[0]
            for v in (w, other)
        ]
        changes.append(float(np.abs(maps[0] - maps[1]).max()))
    assert changes[0] > 1e-3 and changes[1] == 0


def test_every_variable_of_the_paper_form_is_used(paper_networks):
    generator, discriminator = paper_networks
    z = latents(generator, range(4))
    layers = [
        variable
        for name, variable in variables_by_name(generator).items()
        if variable.trainable and ("AttLayer_l2n" in name or "AttLayer_n2l" in name)
    ]
    names = [variable.name for variable in layers]
    assert any("Centroids" in name for name in names) and any("n2l" in name for name in names)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(generator(z, noise="none").images))
    for variable, gradient in zip(layers, tape.gradient(loss, layers), strict=True):
        assert gradient is not None, variable.name
        # Adding the same to all keys changes no softmax; biases may act that way.
        if "bias" not in variable.name:
            assert np.abs(gradient).max() > 0, variable.name


def test_round_trip_and_bfloat16(paper_networks, tmp_path):
    from gansformer.config import ModelConfig
    from gansformer.generator import Generator

    generator, discriminator = paper_networks
    config = ModelConfig(generator.config, discriminator.config)
    gansformer.save_snapshot(gansformer.Snapshot(config, 0, Gs=generator), tmp_path / "s")
    loaded = gansformer.load(tmp_path / "s").Gs
    z = latents(generator, range(2))
    exact = generator(z, noise="const").images.numpy()
    np.testing.assert_array_equal(exact, loaded(z, noise="const").images)
    half = Generator(generator.config, resolution=16, dtype=tf.bfloat16)
    for name, variable in variables_by_name(half).items():
        variable.assign(variables_by_name(generator)[name])
    assert np.abs(exact - half(z, noise="const").images).mean() < 0.02 * exact.std()


@pytest.mark.parametrize(
    "options", [{"image_to_latent": True}, {"iterations": 2}, {"attention": "simplex"}]
)
def test_options_of_the_other_forms_are_refused(options):
    with pytest.raises(UserError, match="duplex=paper"):
        GeneratorConfig(
            **{"latent_size": 32, "components": 4, "attention": "duplex", **options},
            duplex="paper",
        )
