"""visualize.py: each kind against images made in another way."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image, ImageSequence
from scipy.stats import pearsonr

import gansformer
from dnnlib.cli import run as run_program
from gansformer import grids, visualization
from gansformer.config import ModelConfig
from gansformer.generation import noise_numbers
from gansformer.sampling import OpenModel, SamplingOptions
from scripts.generate import main as generate
from scripts.visualize import main as visualize
from tests.gansformer.conftest import TINY
from tests.gansformer.test_generation import read, save

SIZE = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "snapshot")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A StyleGAN2."""
    generator, discriminator = gansformer.build(
        {"generator": {"channel_base": 64, "channel_max": 16, "latent_size": 16},
         "discriminator": TINY["discriminator"]}, resolution=8)  # fmt: skip
    config = ModelConfig(generator.config, discriminator.config)
    path = tmp_path_factory.mktemp("plain") / "snapshot"
    gansformer.save_snapshot(gansformer.Snapshot(config, 0, Gs=generator), path)
    return str(path)


@pytest.fixture(scope="module")
def images(model, tmp_path_factory):
    """Images of seeds 0 to 5 at psi 0.7, by kind of noise."""
    found = {}
    for noise in ("random", "const"):
        out = tmp_path_factory.mktemp(noise)
        generate(["--model", model, "--out", str(out), "--num", "6", "--noise", noise])
        found[noise] = np.stack([read(path) for path in sorted(out.iterdir())])
    return found


def tiles(path, columns):
    """Cut a grid into [rows, columns, H, W, 3]."""
    grid = read(path)
    rows = grid.shape[0] // SIZE
    grid = grid.reshape(rows, SIZE, columns, SIZE, 3)
    return grid.transpose(0, 2, 1, 3, 4).astype(int)


def test_noise_numbers_are_those_of_a_seed(model):
    generator = gansformer.load(model).Gs
    w = generator.mapping(gansformer.latents(generator, [3, 4]))
    of_seeds = generator.synthesis(w, seed=[3, 4]).images
    of_numbers = generator.synthesis(w, noise=noise_numbers(generator, [3, 4])).images
    np.testing.assert_allclose(of_seeds, of_numbers, atol=1e-6)


def test_interpolation_ends_are_the_images(model, images, tmp_path):
    arguments = ["--model", model, "--out", str(tmp_path), "interpolation", "--seeds", "0-2",
                 "--frames", "4", "--video", "gif"]  # fmt: skip
    visualize(arguments)
    strip = tiles(tmp_path / "interpolation.png", 8)
    for tile, seed in ((strip[0, 0], 0), (strip[0, 7], 1), (strip[1, 0], 1), (strip[1, 7], 2)):
        assert np.abs(tile - images["random"][seed]).max() <= 1
    assert np.abs(strip[0, 3] - strip[0, 4]).max() > 1
    with Image.open(tmp_path / "interpolation.gif") as video:
        frames = [np.array(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(video)]
    assert len(frames) == 3 * 4  # a loop, from the last image back to the first
    for i in range(3):
        assert np.abs(frames[4 * i] - images["random"][i]).mean() < 2  # 64 pixels, 256 colours
    facts = json.loads((tmp_path / "interpolation.gif.json").read_text())
    again = [str(tmp_path / "again") if text == str(tmp_path) else text
             for text in shlex.split(facts["command"])[1:]]  # fmt: skip
    visualize(again)
    for path in tmp_path.glob("interpolation.*[gf]"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_all_layers_of_another_image_are_that_image(model, images, tmp_path):
    visualize(["style-mixing", "--model", model, "--out", str(tmp_path), "--seeds", "0-1",
               "--others", "3-5", "--layers", "0-4", "--noise", "const"])  # fmt: skip
    mixed = tiles(tmp_path / "style-mixing.png", 4)
    assert (mixed[0, 0] == 255).all()
    for row in (0, 1, 2):
        np.testing.assert_array_equal(mixed[row, 1:], images["const"][3:6])
    np.testing.assert_array_equal(mixed[1:, 0], images["const"][:2])


@pytest.mark.slow
def test_component_changes(model, tmp_path, capsys):
    visualize(["components", "--model", model, "--out", str(tmp_path), "--seeds", "0-1",
               "--others", "4-5", "--noise", "const"])  # fmt: skip
    assert "over 2 images" in capsys.readouterr().out
    assert read(tmp_path / "components-seed000001.png").shape == (SIZE // 4 + 3 * SIZE, 40, 3)
    opened = OpenModel(model, SamplingOptions(noise="const"))
    start, sources = opened.start([0]), opened.start([4, 5]).w
    image, first, change, attention = visualization.component_changes(
        opened, start, 0, sources, [1, 3]
    )
    generator = opened.generator
    swapped = np.repeat(start.w, 2, axis=0)
    swapped[:, 3] = sources[:, 3]
    expected = generator.synthesis(swapped, noise="const").images.numpy()
    np.testing.assert_allclose(first[1], expected[0], atol=1e-5)
    difference = np.abs(expected - image).mean(axis=(0, 3))
    np.testing.assert_allclose(change[1], difference, atol=1e-5)
    out = generator.synthesis(start.w, noise="const", return_attention=True)
    by_hand = np.mean(
        [np.kron(m.numpy()[0, 0, :, :, 3], np.ones([SIZE // m.shape[2]] * 2))
         for m in out.attention], axis=0)  # fmt: skip
    np.testing.assert_allclose(attention[1], by_hand, atol=1e-5)
    expected = pearsonr(change.ravel(), attention.ravel()).statistic
    np.testing.assert_allclose(visualization.correlate(change, attention), expected, atol=1e-6)


@pytest.mark.slow
def test_attention_overview(model, images, tmp_path):
    visualize(["attention", "--model", model, "--out", str(tmp_path), "--seeds", "0-1"])
    overview = read(tmp_path / "attention.png")[: 2 * SIZE]
    row = overview.reshape(2, SIZE, 5, SIZE, 3).transpose(0, 2, 1, 3, 4).astype(int)
    np.testing.assert_array_equal(row[:, 0], images["random"][:2])
    opened = OpenModel(model, SamplingOptions())
    out = opened.attention_sampler([0, 1])
    most = out.attention[-1].mean(axis=1).argmax(axis=-1)
    colours = np.rint(grids.component_colours(4) * 255)
    np.testing.assert_array_equal(row[:, 2], colours[most])
    np.testing.assert_allclose(row[:, 4], (row[:, 0] + row[:, 2]) / 2, atol=1)
    assert read(tmp_path / "attention-seed000001.png").shape == (3 * SIZE, 4 * SIZE, 3)


@pytest.mark.slow
def test_truncation_and_directions(model, images, tmp_path):
    common = ["--model", model, "--out", str(tmp_path), "--noise", "const", "--seeds", "0-1"]
    visualize(["truncation", *common])
    ladder = tiles(tmp_path / "truncation.png", 7)
    np.testing.assert_array_equal(ladder[0, 0], ladder[1, 0])
    generate(["--model", model, "--out", str(tmp_path / "psi"), "--num", "2", "--psi", "1",
              "--noise", "const"])  # fmt: skip
    assert np.abs(ladder[1, 5] - read(tmp_path / "psi" / "seed000001.png")).max() <= 1
    for method in ("pca", "closed-form"):
        visualize(["directions", *common, "--component", "1", "--count", "2", "--method", method])
        for seed in (0, 1):
            steps = tiles(tmp_path / f"directions-{method}-1-seed{seed:06d}.png", 7)
            assert steps.shape[0] == 2
            for row in steps:
                np.testing.assert_array_equal(row[3], images["const"][seed])
                assert np.abs(row[0] - row[6]).max() > 3


@pytest.mark.slow
def test_noise_and_layers(model, tmp_path):
    common = ["--model", model, "--out", str(tmp_path), "--seeds", "0-1"]
    visualize(["noise", *common, "--draws", "9"])
    visualize(["layers", *common])
    facts = json.loads((tmp_path / "noise.png.json").read_text())
    opened = OpenModel(model, SamplingOptions())
    w = opened.start([0, 1]).w
    draws = [opened.sampler.synthesize(np.stack([one] * 9), range(9)).images for one in w]
    expected = np.std(draws, axis=1).mean()
    np.testing.assert_allclose(facts["measured"]["deviation"], expected, rtol=1e-3)
    shown = tiles(tmp_path / "noise.png", 6)
    np.testing.assert_array_equal(shown[1, 2], opened.rgb(draws[1][2:3])[0])
    assert read(tmp_path / "layers.png").shape == (2 * SIZE, 4 * SIZE, 3)


@pytest.mark.slow
def test_progress_shows_each_snapshot(tmp_path):
    generators = []
    for kimg in (1, 2, 3):
        generator, discriminator = gansformer.build(TINY, resolution=8, seed=kimg)
        config = ModelConfig(generator.config, discriminator.config)
        snapshot = gansformer.Snapshot(config, kimg, Gs=generator)
        gansformer.save_snapshot(snapshot, tmp_path / "run" / "snapshots" / f"{kimg:06d}")
        generators.append(generator)
    visualize(["progress", "--model", str(tmp_path / "run"), "--out", str(tmp_path), "--seeds",
               "0-3", "--video", "gif"])  # fmt: skip
    rows = tiles(tmp_path / "progress.png", 4)
    for row, generator in zip(rows, generators, strict=True):
        generator.truncation = "component"
        expected = gansformer.Sampler(generator, psi=0.7)(range(4)).images
        expected = np.clip(np.rint(expected * 127.5 + 127.5), 0, 255)
        assert np.abs(row - expected).max() <= 1
    with Image.open(tmp_path / "progress.gif") as video:
        assert (video.n_frames, video.size) == (3, (2 * SIZE, 2 * SIZE))


@pytest.mark.slow
def test_neighbours(model, images, tmp_path):
    """Among real images is one that was generated: it is the nearest, at distance 0."""
    others = np.random.default_rng(0).integers(0, 256, [40, SIZE, SIZE, 3], np.uint8)
    others[17] = images["random"][2]
    np.savez(tmp_path / "real.npz", others)
    visualize(["neighbours", "--model", model, "--out", str(tmp_path), "--seeds", "0-2",
               "--data", str(tmp_path / "real.npz"), "--count", "3"])  # fmt: skip
    for space in ("pixels", "features"):
        facts = json.loads((tmp_path / f"neighbours-{space}.png.json").read_text())["measured"]
        distances = np.array(facts["distances"])
        assert distances[2, 0] < 1e-3 < distances[:2].min()
        shown = tiles(tmp_path / f"neighbours-{space}.png", 4)
        np.testing.assert_array_equal(shown[2, 0], shown[2, 1])
        assert (np.diff(distances) >= 0).all()
    facts = json.loads((tmp_path / "neighbours-pixels.png.json").read_text())["measured"]
    squares = (images["random"][0] / 255.0 - others / 255.0) ** 2
    expected = np.sort(np.sqrt(squares.mean(axis=(1, 2, 3))))[:3]
    np.testing.assert_allclose(facts["distances"][0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["attnetion"], 'did you mean "attention"'),
        (["attention", "--frames", "3"], "--frames has no effect with attention"),
        (["attention", "--layers", "0"], "only [1, 2, 3] have attention"),
        (["attention", "--components", "0-9"], "from 0 to 3"),
        (["interpolation", "--seeds", "1"], "at least two images"),
        (["style-mixing", "--others", "3-1"], "--others 3-1: expected numbers"),
        (["directions", "--component", "7"], "this model has 0 to 4, 4 is global"),
        (["directions", "--method", "closed-form", "--layers", "0", "--component", "1"], "others"),
        (["progress"], "at least two snapshots"),
        (["neighbours"], "neighbours needs --data"),
        (["noise", "--noise", "const"], "random noise"),
    ],
)
def test_bad_input(model, tmp_path, arguments, message, capsys):
    arguments = [*arguments, "--model", model, "--out", str(tmp_path)]
    assert run_program(visualize, arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0], error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["attention", "layers", "components"])
def test_a_model_without_attention(plain, tmp_path, kind, capsys):
    assert run_program(visualize, [kind, "--model", plain, "--out", str(tmp_path)]) == 2
    assert "has no attention; use a GANformer" in capsys.readouterr().err
