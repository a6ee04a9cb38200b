"""generate.py beyond single images: files of w, archives, classes, layers, blended models."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

import gansformer
from dnnlib.cli import run as run_program
from gansformer.blending import blend_generators
from gansformer.sampling import attention_layers, parse_psi_layers
from gansformer.variables import variables_by_name
from gansformer.w_files import load_w, save_w
from scripts.generate import main as generate
from tests.gansformer.conftest import TINY
from tests.gansformer.test_generation import read, save


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "snapshot")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model") / "snapshot"
    return save(directory, label_dim=2, label_names=["cats", "dogs / wolves"])


@pytest.fixture(scope="module")
def images(model, tmp_path_factory):
    """Ten images and their w, at psi 0.7."""
    out = tmp_path_factory.mktemp("images")
    generate(["--model", model, "--out", str(out), "--num", "10", "--save-w"])
    return out


def test_w_gives_the_same_images(model, images, tmp_path):
    generate(["--model", model, "--out", str(tmp_path), "--w", str(images / "w.npz")])
    for seed in range(10):
        again = tmp_path / f"w-{seed}.png"
        assert again.read_bytes() == (images / f"seed{seed:06d}.png").read_bytes()
    with np.load(images / "w.npz") as file:
        sampler = gansformer.Sampler(gansformer.load(model).Gs, psi=0.7)
        np.testing.assert_array_equal(file["w"], sampler(range(10)).w)


def test_stored_noise_is_used(model, tmp_path):
    generator = gansformer.load(model).Gs
    w = generator.mapping(gansformer.latents(generator, [0, 1])).numpy()
    noise = np.random.default_rng(0).standard_normal([2, generator.synthesis_network.noise_size])
    save_w(tmp_path / "mine.npz", generator, w, [0, 0], noise)
    again = load_w(tmp_path / "mine.npz", generator)
    np.testing.assert_array_equal(again.noise, noise.astype(np.float32))
    maps = [
        noise[:, start : start + size * size].reshape(2, size, size, 1).astype(np.float32)
        for start, size in ((0, 4), (16, 8), (80, 8))
    ]
    expected = generator.synthesis_network(w, noise=maps)[0].numpy()
    out = gansformer.Sampler(generator).synthesize(again.w, again.seeds, again.noise)
    np.testing.assert_allclose(out.images, expected, atol=1e-5)
    generate(["--model", model, "--out", str(tmp_path), "--w", str(tmp_path / "mine.npz")])
    pixels = np.clip(np.rint(expected * 127.5 + 127.5), 0, 255)
    assert np.abs(read(tmp_path / "mine-1.png") - pixels[1]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind, is_exact", [("png", True), ("webp", True), ("jpg", False)])
def test_archives_and_formats(model, images, tmp_path, kind, is_exact):
    generate(["--model", model, "--out", str(tmp_path), "--num", "10", "--zip", "--format", kind])
    assert [path.name for path in tmp_path.iterdir()] == ["images.zip"]
    with zipfile.ZipFile(tmp_path / "images.zip") as file:
        assert file.namelist() == [f"seed{seed:06d}.{kind}" for seed in range(10)]
        for name in file.namelist():
            image = Image.open(io.BytesIO(file.read(name)))
            expected = read(images / name.replace(kind, "png")).astype(int)
            difference = np.abs(np.array(image) - expected)
            assert image.format.lower() == kind.replace("jpg", "jpeg")
            assert difference.max() == 0 if is_exact else 0 < difference.mean() < 20


@pytest.mark.slow
def test_memory_does_not_grow(model, tmp_path):
    def peak(count):
        tracemalloc.start()
        generate(["--model", model, "--out", str(tmp_path), "--num", str(count), "--zip",
                  "--save-w"])  # fmt: skip
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    peak(8)  # what is made once
    few, many = (peak(count)[0] for count in (64, 640))
    assert many - few < 576 * 1000  # an image and its w are 3,400 bytes; names and the index, 500


def test_psi_by_layer(model, tmp_path):
    assert parse_psi_layers("0-1=0.5,3=1", 0.7, 5) == [0.5, 0.5, 0.7, 1, 0.7]
    generate(["--model", model, "--out", str(tmp_path), "--num", "2", "--save-w",
              "--psi-layers", "0-1=0.5,3=1"])  # fmt: skip
    generator = gansformer.load(model).Gs
    w = generator.mapping(gansformer.latents(generator, [0, 1])).numpy()
    psi = np.array([0.5, 0.5, 0.7, 1, 0.7])[:, None]
    center = generator.component_averages[:, None]
    with np.load(tmp_path / "w.npz") as file:
        np.testing.assert_allclose(file["w"], center + psi * (w - center), atol=1e-5)


@pytest.mark.slow
def test_a_grid_of_all_classes(conditional, tmp_path):
    common = ["--model", conditional, "--seeds", "3-5", "--out"]
    generate([*common, str(tmp_path), "--all-classes", "--grid"])
    generate([*common, str(tmp_path / "all"), "--all-classes"])
    grid = read(tmp_path / "grid.png")
    assert grid.shape == (2 * 8, 3 * 8, 3)
    generate([*common, str(tmp_path / "wolves"), "--label", "dogs / wolves"])
    for column, seed in enumerate((3, 4, 5)):
        image = read(tmp_path / "wolves" / f"seed{seed:06d}.png")
        np.testing.assert_array_equal(grid[8:, 8 * column : 8 * column + 8], image)
        again = read(tmp_path / "all" / f"dogs___wolves-seed{seed:06d}.png")
        np.testing.assert_array_equal(again, image)
    assert (grid[:8] != grid[8:]).any()


def test_blended_models(tmp_path):
    """Below the resolution, features are those of the first model: so are its attention maps."""
    low, _ = gansformer.build(TINY, resolution=16, seed=1)
    high, _ = gansformer.build(TINY, resolution=16, seed=2)
    w = low.mapping(gansformer.latents(low, [0, 1]))
    blended = blend_generators(low, high, 16)
    outputs = [
        generator.synthesis(w, seed=[0, 1], return_attention=True)
        for generator in (low, blended, high)
    ]
    np.testing.assert_array_equal(blended.mapping(gansformer.latents(low, [0, 1])), w)
    assert attention_layers(low) == [1, 2, 3, 4, 5]
    for layer in range(3):
        np.testing.assert_array_equal(outputs[0].attention[layer], outputs[1].attention[layer])
        assert np.abs(outputs[2].attention[layer] - outputs[1].attention[layer]).max() > 1e-3
    variables = [variables_by_name(generator) for generator in (low, blended, high)]
    of_high = [n for n in variables[1] if np.array_equal(variables[1][n], variables[2][n])]
    assert "G_synthesis/16x16/ToRGB/weight" in of_high
    assert "G_synthesis/8x8/Conv1/weight" not in of_high
    whole = blend_generators(low, high, 32).synthesis(w, seed=[0, 1]).images
    np.testing.assert_array_equal(whole, outputs[0].images)


@pytest.mark.slow
def test_blending_from_the_command_line(model, images, tmp_path):
    arguments = ["--model", model, "--out", str(tmp_path), "--num", "1", "--blend", model]
    generate([*arguments, "--blend-from", "8"])  # with itself
    first = "seed000000.png"
    assert (tmp_path / first).read_bytes() == (images / first).read_bytes()


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--w", "missing.npz"], "--w missing.npz: no such file; generate.py --save-w writes one"),
        (["--w", __file__], "is no file of w"),
        (["--w", "OTHER"], "give the model that it was made with"),
        (["--w", "OTHER", "--psi", "0.5"], "--psi has no effect with --w"),
        (["--psi-layers", "0-9=1"], "expected numbers and ranges from 0 to 4"),
        (["--psi-layers", "0-3"], "such as 0-3=0.5"),
        (["--psi-layers", "0=nan"], "such as 0-3=0.5"),
        (["--psi-cutoff", "9"], "has 5 layers"),
        (["--all-classes"], "not conditional"),
        (["--grid", "--zip"], "--zip has no effect with --grid"),
        (["--blend-from", "8"], "--blend-from has no effect without --blend"),
        (["--blend", "cartoonset64-duplex-cpu"], "different configurations"),
    ],
)
def test_bad_input(model, tmp_path, extra, message, capsys):
    generator, _ = gansformer.build(TINY, resolution=16, seed=1)
    save_w(tmp_path / "other.npz", generator, np.zeros([1, 5, 7, 8]), [0])
    extra = [str(tmp_path / "other.npz") if text == "OTHER" else text for text in extra]
    assert run_program(generate, ["--model", model, "--out", str(tmp_path / "out"), *extra]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    error = [line for line in error if not line.startswith("note: option")]
    assert len(error) == 1 and message in error[0], error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_w_of_another_network_of_the_same_sizes_is_said(images, tmp_path, capsys):
    other, discriminator = gansformer.build(TINY, resolution=8, seed=9)
    config = gansformer.snapshot.ModelConfig(other.config, discriminator.config)
    gansformer.save_snapshot(gansformer.Snapshot(config, 0, Gs=other), tmp_path / "other")
    generate(["--model", str(tmp_path / "other"), "--out", str(tmp_path), "--w",
              str(images / "w.npz")])  # fmt: skip
    assert "was made with another network" in capsys.readouterr().err
