"""Generators in TensorFlow's own operations only: the same images, and files that load anywhere."""

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.ops.library import implementation
from dnnlib.random_streams import RandomStream
from gansformer.portable import STORED_NOISE, PortableStream, portable_functions
from tests.gansformer.conftest import TINY

LABELS = {"latent_size": 16, "channel_base": 64, "channel_max": 16}
WIDE = {**TINY["generator"], "crop_ratio": 0.5, "attention": "simplex"}
KGAN = {**LABELS, "components": 2, "architecture": "resnet", "merge": {"layer": 3}}


def test_random_numbers_are_those_of_the_stream():
    indices = [0, 1, 7, 123_456_789, 2**31 - 1]
    expected = RandomStream("sample/noise", tf.constant(indices, tf.int64)).normal([7, 13])
    stream = PortableStream("sample", tf.constant(indices)).fold("noise")
    for evaluate in (stream.normal, tf.function(stream.normal, autograph=False)):
        actual = evaluate([7, 13]).numpy()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    assert np.std(actual) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "config, image",
    [
        (TINY["generator"], {}),
        pytest.param(LABELS, {"label_dim": 3, "channels": 1}, marks=pytest.mark.slow),
        pytest.param(WIDE, {}, marks=pytest.mark.slow),
        pytest.param(KGAN, {}, marks=pytest.mark.slow),
    ],
    ids=["duplex", "labels", "wide", "kgan"],
)
def test_functions_compute_what_the_generator_does(config, image):
    discriminator = {"channel_base": 64, "channel_max": 16, "crop_ratio": config.get("crop_ratio")}
    networks = {"generator": config, "discriminator": discriminator}
    generator, _ = gansformer.build(networks, resolution=16, seed=3, **image)
    functions = portable_functions(generator, attention=generator.config.has_attention)
    for graph in (function.get_concrete_function().graph for function in functions.values()):
        operations = [*graph.get_operations()]
        for name in graph.as_graph_def().library.function:
            operations += name.node_def
        types = {getattr(each, "type", None) or each.op for each in operations}
        assert not any(">" in name for name in types), "custom operations"
    z = gansformer.latents(generator, [3, 4, 5])
    given = [z, np.eye(3, dtype=np.float32)] if generator.label_dim else [z]
    psi, cutoff, seed = tf.constant(0.6), tf.constant(4), tf.constant([3, 4, 5])
    out = functions["generate"](*given, psi, cutoff, seed)
    expected = generator(*given, psi=0.6, psi_cutoff=4, seed=seed, return_attention=True)
    np.testing.assert_allclose(out["images"], expected.images, rtol=0, atol=1e-4)
    np.testing.assert_allclose(out["w"], expected.w, rtol=0, atol=1e-5)
    for i, maps in enumerate(expected.attention):
        np.testing.assert_allclose(out[f"attention_{i}"], maps, rtol=0, atol=1e-5)
    rounded = np.clip(np.rint(np.float64(out["images"]) * 127.5 + 127.5), 0, 255)
    assert np.abs(rounded - out["pixels"].numpy()).max() <= 1 and out["pixels"].dtype == tf.uint8
    stored = functions["synthesis"](expected.w, tf.constant([STORED_NOISE, 4, STORED_NOISE]))
    fixed = generator.synthesis(expected.w, noise="const").images
    np.testing.assert_allclose(stored["images"][::2], fixed[::2], rtol=0, atol=1e-4)
    np.testing.assert_allclose(stored["images"][1], expected.images[1], rtol=0, atol=1e-4)
    w = functions["mapping"](*given)["w"]
    np.testing.assert_allclose(w, generator.mapping(*given), rtol=0, atol=1e-5)


def test_a_saved_generator_holds_its_portable_form(tiny_generator, tmp_path):
    tf.saved_model.save(tiny_generator, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    z = gansformer.latents(tiny_generator, [1, 2])
    out = loaded.generate(z, tf.constant(1.0), tf.constant(0), tf.constant([1, 2]))
    expected = tiny_generator(z, seed=tf.constant([1, 2])).images
    np.testing.assert_allclose(out["images"], expected, rtol=0, atol=1e-4)


@pytest.mark.skipif(not implementation().startswith("native"), reason="there are no native ops")
@pytest.mark.slow
def test_a_function_with_native_operations_cannot_be_saved(tiny_generator, tmp_path):
    """It could not be loaded anywhere but here."""
    holder = tf.Module()
    holder.generate = tf.function(
        lambda z: tiny_generator(z, noise="none").images,
        input_signature=[tf.TensorSpec([None, 5, 8], tf.float32)],
    )
    holder.generator = tiny_generator
    with pytest.raises(AssertionError, match="use_export.py"):
        tf.saved_model.save(holder, str(tmp_path / "saved"))
