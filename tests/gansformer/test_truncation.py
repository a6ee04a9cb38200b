"""Truncation towards the average of each component, or towards the official one."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import gansformer
from dnnlib.cli import run as run_program
from dnnlib.errors import UserError
from gansformer import truncation
from gansformer.checkpoint_conversion import convert_checkpoint
from gansformer.config import ModelConfig
from gansformer.truncation import average_components, cached_w_statistics, w_statistics
from scripts.generate import main as generate
from tests.gansformer.conftest import TINY
from tests.golden_files import GOLDEN
from training.run import samples
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
    for kind, center in (("official", generator.w_avg.numpy()), ("component", own)):
        generator.truncation = kind
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


def test_snapshots_keep_the_averages(tmp_path, monkeypatch):
    generator, config = build()
    path = save(tmp_path / "new", generator, config)
    new = gansformer.load(path).Gs
    assert new.truncation == "component" and generator.truncation == "official"
    np.testing.assert_array_equal(new.component_averages, average_components(generator))
    (tmp_path / "new" / "averages.npz").unlink()  # as before there were any
    old = gansformer.load(path).Gs
    assert old.component_averages is None and old.truncation == "component"
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path / "cache"))
    np.testing.assert_array_equal(old.truncation_center(), new.truncation_center())


def count_calls(monkeypatch, module, name):
    """Return a list that grows with each call of a function."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: calls.append(name) or function(*args))
    return calls


def test_statistics_are_computed_once_for_weights_and_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path))
    generator, _ = build(label_dim=2)
    labels = np.eye(2, dtype=np.float32)
    expected = {i: w_statistics(generator, labels[: i + 1]) for i in (0, 1)}
    calls = count_calls(monkeypatch, truncation, "w_statistics")
    for _ in range(2):
        for i in (0, 1):
            found = cached_w_statistics(generator, labels[: i + 1])
            np.testing.assert_array_equal(found, expected[i])
    assert len(calls) == len(list(tmp_path.glob("averages/*.npy"))) == 2
    generator.mapping_network.variables[0].assign_add(
        tf.ones_like(generator.mapping_network.variables[0])
    )
    other = cached_w_statistics(generator, labels)
    assert len(calls) == 3 and np.abs(other[0] - expected[1][0]).max() > 1e-3


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x93NUMPY\1\0v", "half", "nan", "shape"])
def test_a_damaged_cache_is_replaced(tmp_path, monkeypatch, content):
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path))
    generator, _ = build()
    expected = np.stack(w_statistics(generator))
    monkeypatch.setattr(truncation, "w_statistics", lambda *_: tuple(expected))
    cached_w_statistics(generator)
    (path,) = tmp_path.glob("averages/*.npy")
    whole = path.read_bytes()
    if content == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif content in ("nan", "shape"):
        np.save(path, expected * np.nan if content == "nan" else expected[:, 1:])
    else:
        path.write_bytes(content)
    np.testing.assert_array_equal(cached_w_statistics(generator), expected)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("is_there", [True, False])
def test_without_a_cache_they_are_computed(tmp_path, monkeypatch, is_there):
    """Its folder is a file; or there is no place at all."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path / "file"))
    if not is_there:
        monkeypatch.setattr(truncation, "cache_directory", fail)
    generator, _ = build()
    np.testing.assert_array_equal(cached_w_statistics(generator), w_statistics(generator))


def fail(name):
    raise UserError("no place")


def test_grid_and_snapshot_of_the_same_weights_compute_the_averages_once(monkeypatch):
    generator, _ = build()
    calls = count_calls(monkeypatch, samples, "average_components")
    grids = SampleGrids(generator, columns=1, rows=1, psi=0.5)
    for count in (1, 1, 2):
        if count == 2:
            for variable in generator.mapping_network.trainable_variables:
                variable.assign(variable * 2)
        grids.update_averages()
        assert len(calls) == count
        expected = average_components(generator)
        np.testing.assert_allclose(generator.component_averages, expected, rtol=1e-4, atol=1e-5)


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


def test_the_official_average_is_none_of_the_shipped_networks_latents():
    """Why there are two truncations: it is no average of any latent (docs/fidelity.md has numbers).

    Distances in standard deviations (root of summed squares); 10,000 latents leave 0.01 to chance.
    """
    generator = gansformer.load("cartoonset64-duplex-cpu").Gs
    mean, deviation = w_statistics(generator)
    distance = np.linalg.norm(mean - generator.w_avg.numpy(), axis=1)
    spread = np.linalg.norm(deviation, axis=1)
    ratio = distance / spread
    assert ratio.min() > 0.1, f"global latent {ratio[-1]:.2f}, others {ratio[:-1].mean():.2f}"
