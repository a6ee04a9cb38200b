"""Labels reach every variant; the official program's label path is broken (fidelity.md#labels)."""

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.errors import UserError
from gansformer.generation import latents
from gansformer.variables import variables_by_name
from training.config import load_config

SIZES = {"channel_base": 64, "channel_max": 16}
COMPONENTS = {**SIZES, "latent_size": 32, "components": 4}
REGION_LATENTS = {**COMPONENTS, "component_embedding": True}
RESNET = {"layers": 4, "resnet": True, "self_attention": True}
GENERATORS = {
    "stylegan2": {**SIZES, "latent_size": 16},
    "gan": {**SIZES, "latent_size": 16, "style": False, "latent_stem": True},
    "sagan": {**SIZES, "latent_size": 16, "latent_stem": True, "style": False, "image_to_image": 3},
    "kgan": {**COMPONENTS, "architecture": "resnet", "merge": {"layer": 3}},
    "simplex": {**REGION_LATENTS, "attention": "simplex"},
    "duplex": {**REGION_LATENTS, "attention": "duplex", "mapping": RESNET},
    "paper": {**REGION_LATENTS, "attention": "duplex", "duplex": "paper", "mapping": RESNET},
    "shared": {**REGION_LATENTS, "attention": "duplex", "mapping": {"shared_dim": 24}},
    "dim": {**REGION_LATENTS, "attention": "simplex", "w_dim": 12, "mapping": {"dim": 20}},
    "dim_resnet": {**REGION_LATENTS, "attention": "simplex", "mapping": {**RESNET, "dim": 20}},
    "resnet_stylegan2": {**SIZES, "latent_size": 16, "mapping": {"resnet": True}},
}
DISCRIMINATORS = {
    "resnet": {**SIZES},
    "skip": {**SIZES, "architecture": "skip"},
    "orig": {**SIZES, "architecture": "orig"},
    "attention": {**COMPONENTS, "attention": True, "component_embedding": True},
}


def build(generator, discriminator=SIZES):
    config = {"generator": generator, "discriminator": discriminator}
    return gansformer.build(config, resolution=16, label_dim=3, seed=1)


@pytest.mark.parametrize("name", GENERATORS)
def test_labels_reach_the_generator(name):
    generator, _ = build(GENERATORS[name])
    z = latents(generator, [0, 0, 0])
    labels = tf.constant(np.eye(3, dtype=np.float32))
    w = generator.mapping(z, labels).numpy()
    images = generator(z, labels, noise="none").images.numpy()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        changed = np.abs(w[first] - w[second]).max(axis=(1, 2))  # [K]
        assert changed.min() > 1e-3, "the label reaches every latent, the global one too"
        assert np.abs(images[first] - images[second]).mean() > 1e-3
    embedding = variables_by_name(generator)["G_mapping/LabelConcat/weight"]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.square(generator(z, labels, noise="none").images))
    gradient = tape.gradient(total, embedding).numpy()
    assert np.abs(gradient).max(axis=1).min() > 0


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_labels_reach_the_discriminator(name):
    _, discriminator = build(GENERATORS["stylegan2"], DISCRIMINATORS[name])
    images = np.tile(np.random.default_rng(0).standard_normal([1, 16, 16, 3]), [3, 1, 1, 1])
    labels = np.eye(3, dtype=np.float32)
    scores = discriminator(images, labels).numpy()[:, 0]
    assert len(np.unique(scores.round(5))) == 3
    mixed = discriminator(images, labels * [[1], [0], [0]]).numpy()[:, 0]
    np.testing.assert_allclose(mixed, [scores[0], 0, 0], atol=1e-6)  # sum of outputs x labels


def test_missing_labels_are_asked_for():
    generator, discriminator = build(GENERATORS["duplex"])
    with pytest.raises(ValueError, match=r"conditional: give labels \[B, 3\]"):
        generator(latents(generator, [0]))
    with pytest.raises(ValueError, match=r"labels have shape \(1, 2\)"):
        generator(latents(generator, [0]), tf.zeros([1, 2]))
    with pytest.raises(ValueError, match="conditional"):
        discriminator(tf.zeros([4, 16, 16, 3]))


def test_label_by_number_and_by_name():
    from gansformer.config import ModelConfig
    from gansformer.generation import label_rows

    generator, _ = build(GENERATORS["duplex"])
    config = ModelConfig(generator.config)
    names = ["red hair", "blue hair", "none"]
    snapshot = gansformer.Snapshot(config, 0, Gs=generator, details={"label_names": names})
    for label in ("blue hair", "1"):
        rows = label_rows(snapshot, generator, label, 2)
        np.testing.assert_array_equal(rows, [[0, 1, 0], [0, 1, 0]])
    for label, message in (
        (None, "choose --label from red hair, blue hair, none"),
        ("blu hair", 'did you mean "blue hair"'),
        ("3", "--label 3 is none of"),
    ):
        with pytest.raises(UserError, match=message):
            label_rows(snapshot, generator, label, 2)


def test_what_networks_refuse(tiny_networks):
    """One line instead of a wrong result; labels of size 0, as data sets without have, are none."""
    generator, discriminator = tiny_networks
    z, images = latents(generator, [0, 1]), tf.zeros([2, *discriminator.image_shape])
    for labels in (np.eye(2), np.ones([2, 1])):
        with pytest.raises(ValueError, match="generator is not conditional"):
            generator(z, labels)
        with pytest.raises(ValueError, match="discriminator is not conditional"):
            discriminator(images, labels)
    none = np.zeros([2, 0], np.float32)
    np.testing.assert_array_equal(generator.mapping(z, none), generator.mapping(z))
    np.testing.assert_array_equal(discriminator(images, none), discriminator(images))
    with pytest.raises(ValueError, match="images are uint8.* needs floats in"):
        discriminator(np.zeros([2, *discriminator.image_shape], np.uint8))
    for call in (lambda: generator(z[:0]), lambda: discriminator(images[:0])):
        with pytest.raises(ValueError, match="the batch is empty"):
            call()
    with pytest.raises(ValueError, match="no seeds"):
        gansformer.Sampler(generator)([])


def test_build_takes_the_names_of_train():
    generator, _ = gansformer.build("cartoonset64-stylegan2-cpu", resolution=16)
    assert generator.config == load_config("cartoonset64-stylegan2-cpu").generator
    with pytest.raises(UserError, match='did you mean "demo"'):
        gansformer.build("demoo")
