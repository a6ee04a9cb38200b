"""The mapping network against its definition in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from gansformer.config import GeneratorConfig, MappingConfig
from gansformer.mapping import MappingNetwork
from gansformer.variables import Scope, variables_by_name

LR = 0.01
COMPONENTS, DIM, LAYERS = 3, 6, 5


def make(label_dim: int = 0, *, attention: str = "simplex", **mapping) -> MappingNetwork:
    components = COMPONENTS if attention != "none" else 1
    config = GeneratorConfig(
        latent_size=DIM * components,
        components=components,
        attention=attention,
        mapping=MappingConfig(layers=4, **mapping),
    )
    embedding = tf.Variable(tf.zeros([components, DIM]), name="embedding")
    network = MappingNetwork(
        Scope(1), config, label_dim=label_dim, layers=LAYERS, component_embedding=embedding
    )
    draw = np.random.default_rng(0)
    for name, variable in variables_by_name(network).items():
        if "bias" in name:
            variable.assign(draw.standard_normal(variable.shape) / LR)
    return network


def dense(values, name: str, x: np.ndarray) -> np.ndarray:
    weight = values[f"{name}/weight"]
    return x @ weight * LR / np.sqrt(len(weight)) + values[f"{name}/bias"] * LR


def lrelu(x: np.ndarray, gain: float = np.sqrt(2)) -> np.ndarray:
    return gain * np.where(x > 0, x, 0.2 * x)


def mlp(values, x: np.ndarray, scope: str, resnet: bool) -> np.ndarray:
    if not resnet:
        for i in range(4):
            x = lrelu(dense(values, f"{scope}Dense{i}", x))
        return x
    for i in range(2):
        hidden = lrelu(dense(values, f"{scope}Dense{i}_0", x))
        x = lrelu(dense(values, f"{scope}Dense{i}_1", hidden) + x, gain=1)
    return lrelu(dense(values, f"{scope}Dense1", x))


@pytest.mark.parametrize("resnet", [False, True])
def test_components_share_a_network_and_the_global_latent_has_its_own(resnet):
    network = make(resnet=resnet)
    values = {n: v.numpy().astype(np.float64) for n, v in variables_by_name(network).items()}
    z = np.random.default_rng(1).standard_normal([2, COMPONENTS + 1, DIM]).astype(np.float32)
    components = z[:, :COMPONENTS]
    components = components / np.sqrt((components**2).mean(-1, keepdims=True) + 1e-8)
    expected = np.concatenate(
        [
            mlp(values, components, "", resnet),
            mlp(values, z[:, COMPONENTS:], "global/", resnet),  # not normalised
        ],
        axis=1,
    )
    w = network(tf.constant(z))
    assert w.shape == [2, COMPONENTS + 1, LAYERS, DIM]
    for layer in range(LAYERS):
        np.testing.assert_allclose(w[:, :, layer], expected, rtol=1e-4, atol=1e-5)


def test_labels_are_embedded_beside_each_latent():
    network = make(label_dim=2, attention="none")
    values = {n: v.numpy().astype(np.float64) for n, v in variables_by_name(network).items()}
    z = np.random.default_rng(1).standard_normal([2, 1, DIM]).astype(np.float32)
    labels = np.array([[1, 0], [0, 1]], np.float32)
    x = np.concatenate([z[:, 0], labels @ values["LabelConcat/weight"]], axis=1)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-8)
    w = network(tf.constant(z), tf.constant(labels))
    np.testing.assert_allclose(w[:, 0, 0], mlp(values, x, "", False), rtol=1e-4, atol=1e-5)
