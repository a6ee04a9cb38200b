"""Projection: its parts against NumPy, and generated images that are found again."""

import json

import numpy as np
import pytest
from PIL import Image

import gansformer
from dnnlib.cli import run as run_program
from gansformer.sampling import OpenModel, SamplingOptions
from gansformer.truncation import w_statistics
from scripts.generate import main as generate
from scripts.project import main as project
from tests.gansformer.test_generation import read, save
from training import projection
from training.projection import Distance, Projection, ProjectionOptions, read_target

SHIPPED = "cartoonset64-duplex-cpu"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "snapshot")


@pytest.fixture
def pixels_only(monkeypatch):
    """Without feature networks: quick."""
    monkeypatch.setattr(projection, "is_here", lambda *arguments: False)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def pyramid_distance(first, second):
    """Mean square at 8, 4, 2 and 1 pixels."""
    total = 0
    for size in (1, 2, 4, 8):
        a, b = (
            x.reshape(len(x), 8 // size, size, 8 // size, size, 3).mean(axis=(2, 4))
            for x in (first, second)
        )
        total += np.square(a - b).mean(axis=(1, 2, 3))
    return total


def test_distance_without_networks(pixels_only):
    pairs = draw(6, 8, 8, 3), draw(6, 8, 8, 3, seed=1)
    distance = Distance(pairs)
    assert distance.name.startswith("pixels") and abs(distance.of_random_pairs - 1) < 1e-5
    unit = pyramid_distance(*pairs).mean()
    found = distance(distance.embed(pairs[0]), distance.embed(pairs[1]))
    np.testing.assert_allclose(found, pyramid_distance(*pairs) / unit, rtol=1e-4)


def test_noise_regulariser_and_schedule(model, pixels_only):
    generator = gansformer.load(model).Gs
    distance = Distance((draw(4, 8, 8, 3), draw(4, 8, 8, 3, seed=1)))
    steps = Projection(generator, distance, ProjectionOptions(steps=100))
    noise = np.random.default_rng(0).standard_normal([2, 16 + 64 + 64]).astype(np.float32)
    expected = 0
    for start, size in ((0, 4), (16, 8), (80, 8)):
        maps = noise[:, start : start + size * size].reshape(2, size, size)
        for axis in (1, 2):
            expected += np.square((maps * np.roll(maps, 1, axis)).mean(axis=(1, 2))).sum()
    np.testing.assert_allclose(steps._noise_regulariser(noise), expected, rtol=1e-4)
    normal = steps._normalise(noise).numpy()[:, 16:80]
    np.testing.assert_allclose(normal.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axis=1), 1, atol=1e-4)
    rates, perturbations = np.array([steps._schedule(step) for step in range(100)]).T
    assert rates[0] < 1e-3 and np.allclose(rates[5:75], 0.1) and rates[99] < 1e-3
    whole = 0.05 * np.sqrt(5 * 8)
    np.testing.assert_allclose(perturbations[[0, 30, 75]], [whole, 0.36 * whole, 0], atol=1e-6)


@pytest.mark.slow
def test_projection_begins_at_the_average_and_comes_closer(model, pixels_only):
    generator = gansformer.load(model).Gs
    target = gansformer.Sampler(generator)([5, 6]).images
    distance = Distance((target[:1], target[1:]))
    for space, depth in (("w", 1), ("w+", 5)):
        run = Projection(generator, distance, ProjectionOptions(steps=60, space=space))
        first, *_, last = run.run(target, [0, 1], every=60)
        mean = w_statistics(generator)[0][None, :, None]
        np.testing.assert_allclose(first.w, np.tile(mean, [2, 1, 5, 1]), atol=1e-5)
        assert (last.distances < 0.5 * first.distances).all()
        assert len(np.unique(last.w[0, -1], axis=0)) == depth
        again = gansformer.Sampler(generator).synthesize(last.w, [0, 0], last.noise).images
        np.testing.assert_allclose(again, last.images, atol=1e-4)
    alone = list(run.run(target[1:], [1], every=60))[-1]
    np.testing.assert_allclose(alone.w[0], last.w[1], atol=0.05)  # not of the others


def test_targets_are_resized(model, tmp_path, capsys):
    opened = OpenModel(model, SamplingOptions())
    wide = np.zeros([16, 32, 3], np.uint8)
    wide[:, 8:24] = (10, 200, 100)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = read_target(tmp_path / "wide.png", opened)
    assert "32x16, resized to 8x8" in capsys.readouterr().out
    expected = np.array([10, 200, 100]) / 127.5 - 1
    np.testing.assert_allclose(image[2:6, 2:6], np.broadcast_to(expected, [4, 4, 3]), atol=0.02)
    opened.ratio = 0.5
    padded = read_target(tmp_path / "wide.png", opened)
    assert (padded[:2] == -1).all() and (padded[6:] == -1).all() and padded[4, 4, 1] > 0.4


@pytest.mark.parametrize(
    "target, message",
    [("missing.png", "no such file"), (__file__, "--target"), ("/tmp", "a file is needed")],
)
def test_bad_targets(model, tmp_path, target, message, capsys):
    arguments = ["--model", model, "--target", target, "--out", str(tmp_path / "out")]
    assert run_program(project, arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0], error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_generated_images_are_found_again(tmp_path, capsys):
    """At less than a tenth of the distance of random pairs; and --w makes them again."""
    generate(["--model", SHIPPED, "--out", str(tmp_path / "t"), "--seeds", "500-502",
              "--psi", "1"])  # fmt: skip
    targets = sorted(map(str, (tmp_path / "t").iterdir()))
    out = tmp_path / "out"
    project(["--model", SHIPPED, "--target", *targets, "--out", str(out), "--steps", "200",
             "--video", "gif"])  # fmt: skip
    facts = json.loads((out / "projection.json").read_text())
    for distance in facts["distances"].values():
        assert distance < 0.1 * facts["distance of random pairs"]
    generate(["--model", SHIPPED, "--out", str(tmp_path / "again"), "--w", str(out / "w.npz")])
    for i, name in enumerate(facts["distances"]):
        again = read(tmp_path / "again" / f"w-{i}.png").astype(int)
        assert np.abs(again - read(out / f"{name}-projected.png")).max() <= 1
        target = read(tmp_path / "t" / f"{name}.png").astype(int)
        others = [np.abs(target - read(path)).mean() for path in targets if name not in path]
        assert np.abs(again - target).mean() < 0.4 * min(others)
    with Image.open(out / "seed000500.gif") as video:
        assert video.size == (128, 64) and video.n_frames == 68
