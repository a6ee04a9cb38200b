"""Attention and its order in a layer, against the equations written down in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.errors import UserError
from gansformer.bipartite import Components, generator_attention
from gansformer.canvas import Canvas
from gansformer.config import GeneratorConfig, ModelConfig
from gansformer.generator import Generator
from gansformer.positions import GridPositions
from gansformer.variables import Scope, variables_by_name
from tests.gansformer.conftest import TINY

BATCH, CHANNELS, WIDTH, COMPONENTS, HEADS = 3, 12, 8, 5, 2
GRID = 4, 4
HEAD_SIZE = CHANNELS // HEADS


def softmax(x, axis):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-8)


def by_head(function, *arguments):
    """Evaluate a function for the columns of each head by itself."""
    heads = zip(*(np.split(t, HEADS, axis=-1) for t in arguments), strict=True)
    return [function(*head) for head in heads]


def weigh(queries, keys, size):
    return softmax(queries @ np.swapaxes(keys, -1, -2) / np.sqrt(size), axis=-1)


class Equations:
    """One layer's equations with its variables: names as in the layer, weights scaled here."""

    def __init__(self, layer):
        self.values = {n: v.numpy().astype(np.float64) for n, v in variables_by_name(layer).items()}

    def linear(self, x, scope, name):
        weight = self.values[f"{scope}/weight_{name}"]
        return x @ weight / np.sqrt(len(weight)) + self.values[f"{scope}/bias_{name}"]

    def image_queries(self, x, x_place):
        linear = lambda x, name: self.linear(x, "AttLayer_l2n", name)  # noqa: E731
        return linear(x, "query"), linear(x_place, "from_pos")

    def simplex(self, x, y, x_place, y_place):
        """How much positions attend to components, for each head."""
        content, place = self.image_queries(x, x_place)
        keys = self.linear(y, "AttLayer_l2n", "key") + self.linear(
            y_place, "AttLayer_l2n", "to_pos"
        )

        return by_head(lambda q, k: weigh(q, k, HEAD_SIZE), content + place, keys)

    def kmeans(self, x, x_place, iterations):
        """Centroids begin as learned ones; each step makes them the means of their positions."""
        content, place = self.image_queries(x, x_place)
        place = np.broadcast_to(place, content.shape)
        results = []
        for head, q in enumerate(np.split(np.concatenate([content, place], 2), HEADS, axis=2)):
            centroids = self.values["AttLayer_l2n/toasgn_init"][:, head]
            for i in range(iterations):
                weights = self.values[f"AttLayer_l2n/iter_{i}/st_weights"][head]
                probabilities = weigh(q, centroids * weights, HEAD_SIZE)
                mass = probabilities.sum(1)[..., None] + 1e-8
                centroids = np.swapaxes(probabilities, 1, 2) @ q / mass
            results.append(probabilities)
        return results

    def update_components(self, y, x, y_place, x_place):
        """Y := u^a(Y, X) = LayerNorm(Y + a(Y, X))."""
        linear = lambda x, name: self.linear(x, "AttLayer_n2l", name)  # noqa: E731
        q = linear(y, "query") + linear(y_place, "from_pos")
        k = linear(x, "key") + linear(x_place, "to_pos")
        size = WIDTH // HEADS
        attended = by_head(lambda q, k, v: weigh(q, k, size) @ v, q, k, linear(x, "value"))
        return layer_norm(y + linear(np.concatenate(attended, 2), "out"))

    def duplex(self, x, y, x_place, y_place):
        """K = a(Y, X), and how much positions attend to it."""
        linear = lambda x, name: self.linear(x, "AttLayer_l2n/Centroids", name)  # noqa: E731
        q = linear(y, "query") + linear(y_place, "query_pos")
        k = linear(x, "key") + linear(x_place, "key_pos")
        v = linear(x, "value") + linear(x_place, "value_pos")

        centroids = by_head(lambda q, k, v: weigh(q, k, HEAD_SIZE) @ v, q, k, v)
        content, place = self.image_queries(x, x_place)
        return by_head(
            lambda q, k: weigh(q, k, HEAD_SIZE), content + place, np.concatenate(centroids, 2)
        )

    def update_image(self, x, y, probabilities):
        """gamma(a) * omega(X) + beta(a)."""
        values = np.split(self.linear(y, "AttLayer_l2n", "value"), HEADS, axis=2)
        attended = [p @ v for p, v in zip(probabilities, values, strict=True)]
        control = self.linear(np.concatenate(attended, 2), "AttLayer_l2n", "out")
        gamma, beta = np.split(control, 2, axis=2)
        return layer_norm(x) * (1 + gamma) + beta


@pytest.fixture
def layer_and_inputs(request):
    """A layer with random weights, and x, y and their positional encodings."""
    config = GeneratorConfig(
        latent_size=WIDTH * COMPONENTS,
        components=COMPONENTS,
        integration="both",
        norm="layer",
        heads=HEADS,
        component_embedding=True,
        **request.param,
    )
    positions = GridPositions(
        Scope(0), Canvas(8), kind="sinus", dim=8, init="uniform", directions=2
    )(2)
    layer = generator_attention(Scope(0), config, 2, CHANNELS, position_dim=8, first=True)
    draw = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(draw.standard_normal(variable.shape))
    x = draw.standard_normal([BATCH, *GRID, CHANNELS]).astype(np.float32)
    y = draw.standard_normal([BATCH, COMPONENTS, WIDTH]).astype(np.float32)
    embedding = draw.random([COMPONENTS, WIDTH]).astype(np.float32)
    return layer, x, y, positions.numpy(), embedding


def evaluate(layer, x, y, positions, embedding):
    components = Components(None, tf.constant(embedding))
    x, components = layer(
        tf.constant(x), tf.constant(y), components, positions=tf.constant(positions)
    )
    return np.reshape(x, [BATCH, 16, CHANNELS]), components


def check(features, components, expected, probabilities):
    np.testing.assert_allclose(features, expected, atol=2e-5, rtol=1e-4)
    maps = np.reshape(components.maps[0], [BATCH, HEADS, 16, COMPONENTS])
    np.testing.assert_allclose(maps, np.stack(probabilities, 1), atol=1e-5)


@pytest.mark.parametrize("layer_and_inputs", [{"attention": "simplex"}], indirect=True)
def test_simplex(layer_and_inputs):
    layer, x, y, positions, embedding = layer_and_inputs
    features, components = evaluate(*layer_and_inputs)
    equations, x = Equations(layer), x.reshape(BATCH, 16, CHANNELS)
    probabilities = equations.simplex(x, y, positions, embedding)
    check(features, components, equations.update_image(x, y, probabilities), probabilities)
    assert components.values is None


@pytest.mark.parametrize(
    "layer_and_inputs",
    [{"attention": "duplex", "kmeans_iterations": n} for n in (1, 3)],
    indirect=True,
    ids=["1 iteration", "3 iterations"],
)
def test_kmeans(layer_and_inputs):
    layer, x, y, positions, _ = layer_and_inputs
    features, components = evaluate(*layer_and_inputs)
    equations, x = Equations(layer), x.reshape(BATCH, 16, CHANNELS)
    probabilities = equations.kmeans(x, positions, layer.to_image.iterations)
    check(features, components, equations.update_image(x, y, probabilities), probabilities)


@pytest.mark.parametrize(
    "layer_and_inputs", [{"attention": "duplex", "duplex": "paper"}], indirect=True
)
def test_duplex(layer_and_inputs):
    layer, x, y, positions, embedding = layer_and_inputs
    features, components = evaluate(*layer_and_inputs)
    equations, x = Equations(layer), x.reshape(BATCH, 16, CHANNELS)
    y = equations.update_components(y, x, embedding, positions)
    probabilities = equations.duplex(x, y, positions, embedding)
    check(features, components, equations.update_image(x, y, probabilities), probabilities)
    np.testing.assert_allclose(components.values, y, atol=1e-5)


@pytest.fixture(scope="module")
def paper_networks():
    generator = {**TINY["generator"], "duplex": "paper"}
    return gansformer.build({**TINY, "generator": generator}, resolution=16, seed=3)


def draw_latents(generator, count):
    shape = [count, generator.config.latents, generator.config.z_dim]
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_components_decide_where_they_are_used(paper_networks, tiny_generator):
    """In the paper's form a component shapes the maps; in the released form it does not."""
    changes = []
    for generator in (paper_networks[0], tiny_generator):
        w = generator.mapping(draw_latents(generator, 1)).numpy()
        other = w.copy()
        other[:, 0] = -other[:, 0]
        maps = [
            generator.synthesis(v, noise="none", return_attention=True).attention[0]
            for v in (w, other)
        ]
        changes.append(float(np.abs(maps[0] - maps[1]).max()))
    assert changes[0] > 1e-3 and changes[1] == 0


def test_every_variable_of_the_paper_form_is_used(paper_networks):
    generator, _ = paper_networks
    layers = [
        variable
        for name, variable in variables_by_name(generator).items()
        if variable.trainable and ("AttLayer_l2n" in name or "AttLayer_n2l" in name)
    ]
    names = [variable.name for variable in layers]
    assert any("Centroids" in name for name in names) and any("n2l" in name for name in names)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(generator(draw_latents(generator, 4), noise="none").images))
    for variable, gradient in zip(layers, tape.gradient(loss, layers), strict=True):
        assert gradient is not None, variable.name
        # Adding the same to all keys changes no softmax; biases may act that way.
        if "bias" not in variable.name:
            assert np.abs(gradient).max() > 0, variable.name


def test_round_trip_and_bfloat16(paper_networks, tmp_path):
    generator, discriminator = paper_networks
    config = ModelConfig(generator.config, discriminator.config)
    gansformer.save_snapshot(gansformer.Snapshot(config, 0, Gs=generator), tmp_path / "s")
    loaded = gansformer.load(tmp_path / "s").Gs
    z = draw_latents(generator, 2)
    exact = generator(z, noise="const").images.numpy()
    np.testing.assert_array_equal(exact, loaded(z, noise="const").images)
    half = Generator(generator.config, resolution=16, dtype=tf.bfloat16)
    for name, variable in variables_by_name(half).items():
        variable.assign(variables_by_name(generator)[name])
    assert np.abs(exact - half(z, noise="const").images).mean() < 0.02 * exact.std()


@pytest.mark.parametrize(
    "options", [{"image_to_component": True}, {"kmeans_iterations": 2}, {"attention": "simplex"}]
)
def test_options_of_the_other_forms_are_refused(options):
    with pytest.raises(UserError, match="duplex=paper"):
        GeneratorConfig(
            **{"latent_size": 32, "components": 4, "attention": "duplex", **options},
            duplex="paper",
        )
