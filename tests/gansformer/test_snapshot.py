"""Saving and loading, and official checkpoints."""

import dataclasses

import numpy as np
import pytest

import gansformer
from dnnlib.errors import UserError
from gansformer.config import ModelConfig
from gansformer.snapshot import list_snapshots, load_snapshot, name_by_images
from tests.golden_files import GOLDEN, load, relative_error, to_nhwc

PICKLES = ["stylegan2", "simplex", "duplex", "older_names_duplex"]


@pytest.fixture
def saved(tiny_networks, tmp_path):
    generator, discriminator = tiny_networks
    config = ModelConfig(generator.config, discriminator.config)
    details = {"label_names": ["a"], "ratio": 0.75}
    snapshot = gansformer.Snapshot(config, 1.5, generator, discriminator, generator, details)
    gansformer.save_snapshot(snapshot, tmp_path / "snapshots" / "000001")
    return snapshot, tmp_path / "snapshots" / "000001"


def test_round_trip(saved):
    snapshot, path = saved
    for place in (path, path.parent.parent):  # the snapshot, and the run that holds it
        loaded = gansformer.load(place)
        assert loaded.config == snapshot.config
        assert (loaded.kimg, loaded.details) == (1.5, snapshot.details)
        for name in ("G", "D", "Gs"):
            before, after = getattr(snapshot, name), getattr(loaded, name)
            for old, new in zip(before.variables, after.variables, strict=True):
                assert old.name == new.name
                np.testing.assert_array_equal(old, new)


def test_half_precision_snapshot_without_discriminator(saved, tmp_path):
    snapshot, path = saved
    small = dataclasses.replace(snapshot, G=None, D=None)
    gansformer.save_snapshot(small, tmp_path / "small", half=True)
    loaded = gansformer.load(tmp_path / "small")
    assert loaded.G is None and loaded.D is None
    size = lambda p: (p / "weights.npz").stat().st_size  # noqa: E731
    assert size(tmp_path / "small") < 0.3 * size(path)
    for old, new in zip(snapshot.Gs.variables, loaded.Gs.variables, strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-3, atol=1e-6)


def test_damage_is_told(saved, tmp_path):
    _, path = saved
    weights = (path / "weights.npz").read_bytes()
    (path / "weights.npz").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="is damaged"):
        load_snapshot(path)
    (path / "weights.npz").unlink()
    with pytest.raises(UserError, match="has no weights.npz"):
        load_snapshot(path)
    (path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json is damaged"):
        load_snapshot(path)
    with pytest.raises(UserError, match="neither a snapshot nor a run"):
        gansformer.load(tmp_path / "snapshots")
    with pytest.raises(UserError, match="does not exist.*clevr-256"):
        gansformer.load("no-such-model")


def test_weights_of_another_shape_are_refused(saved):
    _, path = saved
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(text.replace('"channel_max": 16', '"channel_max": 8'))
    with pytest.raises(UserError, match=r"has shape .* this configuration needs"):
        load_snapshot(path)


@pytest.mark.parametrize("name", PICKLES)
def test_official_checkpoint(name):
    _, arrays = load(f"pkl/{name}")
    snapshot = gansformer.load(GOLDEN / "pkl" / f"{name}.pkl")
    outputs = [key.split("/") for key in arrays if key.startswith("out/G")]
    assert {"Gs"} <= {network for _, network, _ in outputs}
    for _, network, kind in outputs:
        generator, expected = getattr(snapshot, network), arrays[f"out/{network}/{kind}"]
        if kind == "ws":
            assert relative_error(generator.mapping(arrays["in/z"]), expected) < 1e-4
        elif kind.startswith("images_psi_"):
            psi = kind.removeprefix("images_psi_")
            psi = 1.0 if psi == "None" else float(psi)
            images = generator(arrays["in/z"], noise="const", psi=psi).images
            assert relative_error(images, to_nhwc(expected)) < 1e-4
    scores = snapshot.D(to_nhwc(arrays["in/images"]))
    assert relative_error(scores, arrays["out/D/scores"]) < 1e-4


def test_names_between_whole_kimg(saved):
    """They sort by the images, also as text, and the newest is loaded."""
    shown = [0, 4, 512, 1000, 1500, 24_000, 24_016, 1_000_000, 2_500_001]
    names = [name_by_images(n) for n in shown]
    assert names[2:7] == ["000000.512", "000001", "000001.500", "000024", "000024.016"]
    assert sorted(names[:8]) == names[:8]
    _, path = saved
    for name in [*names, "best", "000002.5", ".000009.17.tmp"]:
        (path.parent / name).mkdir(exist_ok=True)
    assert list(list_snapshots(path.parent).items()) == [
        (path.parent / name, n) for name, n in zip(names, shown, strict=True)
    ]
    path.rename(path.parent / "2500001")
    assert gansformer.load(path.parent.parent).kimg == 1.5


def test_a_snapshot_says_what_it_is(tiny_networks):
    generator, discriminator = tiny_networks
    config = ModelConfig(generator.config, discriminator.config)
    details = {"label_names": ["a<b"], "data": "mine"}
    snapshot = gansformer.Snapshot(config, 1.5, D=discriminator, Gs=generator, details=details)
    text, table = repr(snapshot), snapshot._repr_html_()
    count = sum(np.prod(variable.shape) for variable in generator.trainable_variables)
    for part in ("1.5 kimg", "16x16x3", "duplex", "4 of 8, 1 global", f"{int(count):,}", "mine"):
        assert part in text and part in table
    assert "a<b" in text and "a&lt;b" in table and "a<b" not in table
    assert len(text.splitlines()) < 12


def test_images_as_pixels_and_as_pillows(tiny_generator):
    out = tiny_generator(gansformer.latents(tiny_generator, [1, 2]), seed=[1, 2])
    expected = np.clip(np.rint(out.images.numpy() * 127.5 + 127.5), 0, 255)
    np.testing.assert_array_equal(out.pixels, expected)
    np.testing.assert_array_equal(np.array(out.pil()[1]), expected[1])
