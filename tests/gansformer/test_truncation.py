"""Truncation towards the average of each component, or towards the official one."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import gansformer
from dnnlib.cli import run as run_program
from gansformer.checkpoint_conversion import convert_checkpoint
from gansformer.config import ModelConfig
from gansformer.truncation import average_components, w_statistics
from scripts.generate import main as generate
from tests.gansformer.conftest import TINY
from tests.golden_files import GOLDEN
from training.run.samples import SampleGrids


def build(label_dim=0):
    """A generator whose components have averages far from one another and from w_avg."""
    generator, discriminator = gansformer.build(TINY, resolution=8, label_dim=label_dim, seed=1)
    for variable in generator.mapping_network.variables:
        if variable.name.startswith("G_mapping/global") and "bias" in variable.name:
            variable.assign(variable + 100.0)  # times lr_multiplier
    return generator, ModelConfig(generator.config, discriminator.config)


def save(directory, generator, config, **details):
    gansformer.save_snapshot(
        gansformer.Snapshot(config, 0, Gs=generator, details=details), directory
    )
    return str(directory)


def test_statistics_are_those_of_other_latents():
    generator, _ = build()
    mean, deviation = w_statistics(generator)
    z = np.random.default_rng(0).standard_normal([4000, 5, 8]).astype(np.float32)
    w = generator.mapping(z).numpy()[:, :, 0]
    error = w.std(axis=0) * np.sqrt(1 / 4000 + 1 / 10_000)
    assert (np.abs(mean - w.mean(axis=0)) < 5 * error).all()
    np.testing.assert_allclose(deviation, w.std(axis=0), rtol=0.1)
    np.testing.assert_array_equal(mean, average_components(generator))


def test_what_psi_does():
    generator, _ = build()
    generator.w_avg.assign(np.linspace(-1, 1, 8))
    w = generator.mapping(gansformer.latents(generator, [0, 1])).numpy()
    own = average_components(generator)[:, None]
    for truncation, center in (("official", generator.w_avg.numpy()), ("component", own)):
        generator.truncation = truncation
        expected = center + 0.3 * (w - center)
        np.testing.assert_allclose(generator.truncate(w, psi=0.3), expected, atol=1e-5)
        cut = generator.truncate(w, psi=0.3, cutoff=2).numpy()
        np.testing.assert_allclose(cut[:, :, :2], expected[:, :, :2], atol=1e-5)
        np.testing.assert_array_equal(cut[:, :, 2:], w[:, :, 2:])
        by_layer = generator.truncate(w, psi=[0.3, 0.3, 1, 1, 1]).numpy()
        np.testing.assert_allclose(by_layer, cut, atol=1e-5)
    whole = gansformer.Sampler(generator, psi=0.3)([0, 1]).w
    np.testing.assert_allclose(whole, expected, atol=1e-4)
    in_graph = tf.function(lambda z: generator(z, psi=0.3).w)(gansformer.latents(generator, [0]))
    np.testing.assert_allclose(in_graph, expected[:1], atol=1e-4)


def test_snapshots_keep_the_averages(tmp_path):
    generator, config = build()
    path = save(tmp_path / "new", generator, config)
    new = gansformer.load(path).Gs
    assert new.truncation == "component" and generator.truncation == "official"
    np.testing.assert_array_equal(new.component_averages, average_components(generator))
    (tmp_path / "new" / "averages.npz").unlink()  # as before there were any
    old = gansformer.load(path).Gs
    assert old.component_averages is None and old.truncation == "component"
    np.testing.assert_array_equal(old.truncation_center(), new.truncation_center())


def test_averages_of_a_conditional_model_are_kept(tmp_path, capsys):
    generator, config = build(label_dim=2)
    labels = np.eye(2, dtype=np.float32)
    generator.component_averages = average_components(generator, labels)
    each = [average_components(generator, labels[i : i + 1]) for i in (0, 1)]
    np.testing.assert_allclose(generator.component_averages, np.mean(each, axis=0), atol=0.05)
    path = save(tmp_path / "a", generator, config, label_names=["a", "b"])
    again = gansformer.load(path)
    gansformer.save_snapshot(again, tmp_path / "b")
    averages = gansformer.load(tmp_path / "b").Gs.component_averages
    np.testing.assert_array_equal(averages, generator.component_averages)
    (tmp_path / "a" / "averages.npz").unlink()
    assert gansformer.load(path).Gs.truncation == "official"
    arguments = ["--model", path, "--out", str(tmp_path), "--label", "a", "--num", "1"]
    assert run_program(generate, [*arguments, "--truncation", "component"]) == 2
    assert "--truncation official" in capsys.readouterr().err


@pytest.mark.slow
def test_official_files_keep_the_official_truncation(tmp_path):
    pickle = str(GOLDEN / "pkl" / "duplex.pkl")
    convert_checkpoint(pickle, tmp_path / "converted", report=lambda line: None)
    images = {}
    for name, model, extra in (
        ("pickle", pickle, []),
        ("converted", str(tmp_path / "converted"), []),
        ("component", pickle, ["--truncation", "component"]),
    ):
        out = tmp_path / name
        generate(["--model", model, "--out", str(out), "--num", "1", "--psi", "0.2", *extra])
        images[name] = np.array(Image.open(out / "seed000000.png")).astype(int)
    np.testing.assert_array_equal(images["pickle"], images["converted"])
    assert np.abs(images["pickle"] - images["component"]).max() > 5


@pytest.mark.slow
def test_grids_of_training_follow_the_weights(tmp_path):
    """At psi 0 all images of a grid are that of the components' averages, also after training."""
    generator, _ = build()
    grids = SampleGrids(generator, columns=2, rows=1, psi=0.0)
    for step in range(2):
        for variable in generator.mapping_network.trainable_variables:
            variable.assign(variable * (1 + step))
        _, images = grids.save(tmp_path, "grid")
        w = np.tile(average_components(generator)[None, :, None], [2, 1, generator.layers, 1])
        expected = gansformer.Sampler(generator).synthesize(w, [0, 1]).images
        expected = np.clip(np.rint(expected * 127.5 + 127.5), 0, 255)
        assert np.abs(images - expected).max() <= 1


def test_the_official_average_is_far_from_the_shipped_networks_global_latent():
    """What docs/fidelity.md says: distances in standard deviations (root of summed squares)."""
    generator = gansformer.load("cartoonset64-duplex-cpu").Gs
    mean, deviation = w_statistics(generator)
    distance = np.linalg.norm(mean - generator.w_avg.numpy(), axis=1)
    spread = np.linalg.norm(deviation, axis=1)
    ratio = distance / spread
    assert ratio[-1] > 1.5 and 0.5 < ratio[:-1].mean() < 1
