"""The fused form of synthesis equals the plain one, in value, gradient and second gradient.

Both with the same kernels, which tests/dnnlib/ops compares with their own plain forms.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.random_streams import RandomStream
from gansformer import fused
from gansformer.config import GeneratorConfig, MappingConfig
from gansformer.generator import Generator
from tests.golden_files import ROOT
from training.config import load_config

BATCH = 2
ATTENTION = {
    "latent_size": 32,
    "components": 4,
    "attention": "simplex",
    "integration": "mul",
    "norm": "layer",
    "component_embedding": True,
}
OPTIONS = {
    "heads": {"heads": 2},
    "duplex heads": {"attention": "duplex", "heads": 2},
    "add": {"integration": "add"},
    "both": {"integration": "both"},
    "no norm": {"norm": "none"},
    "instance norm": {"norm": "instance"},
    "component gate": {"component_gate": True},
    "image gate": {"image_gate": True},
    "dropout": {"attention_dropout": 0.3},
    "no embedding": {"component_embedding": False},
    "no style": {"style": False},
    "no noise": {"noise": False},
    "trainable positions": {"position_type": "trainable"},
    "linear positions": {"position_type": "linear"},
    "two rescalings": {"kmeans_iterations": 2},
    "k-means": {"attention": "duplex", "kmeans_iterations": 2},
    "carried": {"attention": "duplex", "carry_centroids": True, "components": 16},
    "paper": {"attention": "duplex", "duplex": "paper", "integration": "both"},
    "paper mul": {"attention": "duplex", "duplex": "paper"},
    "component to component": {"component_to_component": True},
    "image to component": {"image_to_component": True},
    "image to image": {"image_to_image": 3},
    "skip": {"architecture": "skip"},
    "swish": {"activation": "swish"},
}


def small(config: GeneratorConfig) -> GeneratorConfig:
    """Return a generator of the same kind with few channels and components."""
    merge = config.merge and dataclasses.replace(config.merge, layer=3)
    components = 4 if config.components > 1 else 1
    mapping = dataclasses.replace(config.mapping, layers=2)
    return dataclasses.replace(
        config,
        components=components,
        latent_size=8 * components,
        channel_base=128,
        channel_max=32,
        image_to_image=min(config.image_to_image, 3),
        merge=merge,
        mapping=mapping,
    )


def kinds(quick: tuple[str, ...] = ()):
    """Return each kind of generator in configs/; all but the quick ones are slow tests."""
    found = {}
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        found.setdefault(small(load_config(str(path)).generator), []).append(path.stem)
    return [
        pytest.param(
            config, id=names[0], marks=[] if set(quick) & set(names) else [pytest.mark.slow]
        )
        for config, names in found.items()
    ]


def variants(quick: tuple[str, ...]):
    """Return a configuration for each of OPTIONS; all but the quick ones are slow tests."""
    cases = []
    for name, options in OPTIONS.items():
        options = {**ATTENTION, **options}
        options["latent_size"] = 8 * options["components"]
        shared = {"channel_base": 128, "channel_max": 32, "mapping": MappingConfig(layers=1)}
        marks = [] if name in quick else [pytest.mark.slow]
        cases.append(pytest.param(GeneratorConfig(**options, **shared), id=name, marks=marks))
    return cases


def derivatives(config: GeneratorConfig, dtype: tf.DType = tf.float32) -> dict[str, np.ndarray]:
    """Return images, the gradient of a sum of them, and the gradient of that gradient's square."""
    generator = Generator(config, resolution=16 if config.merge else 8, seed=1, dtype=dtype)
    draw = np.random.default_rng(0)
    for variable in generator.variables:  # biases and noise strengths are 0 in the beginning
        variable.assign_add(0.1 * draw.standard_normal(variable.shape))
    z = draw.standard_normal([BATCH, config.latents, config.z_dim]).astype(np.float32)
    weights = draw.standard_normal([BATCH, *generator.image_shape]).astype(np.float32)
    network, variables = generator.synthesis_network, generator.trainable_variables

    @tf.function(autograph=False)
    def evaluate():
        with tf.GradientTape() as outer:
            w = generator.mapping(z)
            with tf.GradientTape() as inner:
                inner.watch(w)
                random = RandomStream("dropout", [0, 1]) if config.attention_dropout else None
                images, _ = network(w, noise=network.stored_noise(BATCH), random=random)
                total = tf.reduce_sum(images * weights)
            gradient = inner.gradient(total, w)
            square = tf.reduce_sum(tf.square(gradient))
        second = outer.gradient(square, variables, unconnected_gradients="zero")
        return images, gradient, second

    images, gradient, second = evaluate()
    second = np.concatenate([np.ravel(g) for g in second])
    return {"images": images.numpy(), "gradient": gradient.numpy(), "second gradient": second}


def plain_derivatives(config: GeneratorConfig, dtype: tf.DType = tf.float32):
    """Return the same of the plain form."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "is_wanted", lambda: False)
        return derivatives(config, dtype)


def distance(a, b) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


PRESETS = (
    "cartoonset64-stylegan2",
    "cartoonset64-simplex",
    "cartoonset64-duplex",
    "cartoonset64-kgan",
    "clevr256",
)


@pytest.mark.parametrize(
    "config", [*kinds(quick=PRESETS), *variants(quick=("duplex heads", "both", "dropout"))]
)
def test_fused_equals_plain(config):
    result = derivatives(config)
    for name, expected in plain_derivatives(config).items():
        assert distance(result[name], expected) < 1e-5, name


@pytest.mark.parametrize("kind", ["heads", "duplex heads"])
def test_hidden_components(kind, monkeypatch):
    (config,) = [case.values[0] for case in variants(()) if case.id == kind]
    generator = Generator(config, resolution=8, seed=1)
    z = np.random.default_rng(0).standard_normal([BATCH, config.latents, config.z_dim])
    w, mask = generator.mapping(z.astype(np.float32)), tf.constant([[1.0, 0, 1, 0], [0, 1, 1, 1]])
    images = lambda **options: generator.synthesis_network(w, noise=None, **options)[0].numpy()  # noqa: E731
    result, unhidden = images(mask=mask), images()
    monkeypatch.setattr(fused, "is_wanted", lambda: False)
    assert distance(result, images(mask=mask)) < 1e-5 < distance(result, unhidden)


@pytest.mark.parametrize("config", [*kinds(), *variants(quick=())])
def test_fused_equals_plain_in_bfloat16(config):
    """Both round on their way, differently; fused is not much further from float32 than plain."""
    result, plain = derivatives(config, tf.bfloat16), plain_derivatives(config, tf.bfloat16)
    for name, expected in plain_derivatives(config).items():
        assert distance(result[name], expected) < 3 * distance(plain[name], expected), name
