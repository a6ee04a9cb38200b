"""Images from seeds: generate.py, and the Python interface."""

import numpy as np
import pytest
from PIL import Image

import gansformer
from dnnlib.cli import run as run_program
from gansformer.config import ModelConfig
from gansformer.generation import parse_seeds
from scripts.generate import main as generate
from tests.gansformer.conftest import TINY
from tests.golden_files import GOLDEN


def save(directory, label_dim=0, **details):
    generator, discriminator = gansformer.build(TINY, resolution=8, label_dim=label_dim, seed=1)
    for variable in generator.variables:
        if "noise_strength" in variable.name:
            variable.assign(0.3)  # a new network's noise has no effect
    config = ModelConfig(generator.config, discriminator.config)
    snapshot = gansformer.Snapshot(config, 0.0, None, discriminator, generator, details)
    gansformer.save_snapshot(snapshot, directory)
    return str(directory)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "snapshot")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model") / "snapshot"
    return save(directory, label_dim=2, label_names=["cats", "dogs"])


def read(path):
    return np.array(Image.open(path))


def test_same_seed_same_image(model, tmp_path):
    generate(["--model", model, "--out", str(tmp_path / "a"), "--seeds", "0-9"])
    generate(["--model", model, "--out", str(tmp_path / "b"), "--seeds", "9,3"])
    assert len(list((tmp_path / "a").iterdir())) == 10
    for seed in (3, 9):
        name = f"seed{seed:06d}.png"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert np.abs(read(tmp_path / "a/seed000003.png") - read(tmp_path / "a/seed000009.png")).max()


def test_grid_holds_the_single_images(model, tmp_path):
    single = ["--model", model, "--out", str(tmp_path), "--num", "5"]
    generate(single)
    generate([*single, "--grid", "--columns", "3", "--attention"])
    grid = read(tmp_path / "grid.png")
    assert grid.shape == (16, 24, 3)
    np.testing.assert_array_equal(grid[8:, 8:16], read(tmp_path / "seed000004.png"))
    assert (grid[8:, 16:] == 255).all()
    # five rows: the image, and a map for each of the resolutions 4 and 8
    assert read(tmp_path / "attention.png").shape == (5 * 8, 3 * 8, 3)


def test_psi_moves_towards_the_average(model, tmp_path):
    for psi in ("0", "1"):
        generate(["--model", model, "--out", str(tmp_path / psi), "--num", "2", "--psi", psi,
                  "--noise", "const"])  # fmt: skip
    same, other = (
        np.abs(read(d / "seed000000.png").astype(int) - read(d / "seed000001.png")).max()
        for d in (tmp_path / "0", tmp_path / "1")
    )
    assert same == 0 and other > 10


def test_labels(conditional, tmp_path):
    for label in ("cats", "1"):
        generate(["--model", conditional, "--out", str(tmp_path / label), "--num", "1",
                  "--label", label])  # fmt: skip
    first, second = (read(tmp_path / d / "seed000000.png") for d in ("cats", "1"))
    assert (first != second).any()


def test_official_pickle(tmp_path):
    pickle = str(GOLDEN / "pkl" / "duplex.pkl")
    generate(["--model", pickle, "--out", str(tmp_path), "--grid", "--num", "3", "--attention"])
    assert read(tmp_path / "grid.png").shape == (16, 128, 3)


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--seeds", "5-2"], "expected numbers and ranges"),
        (["--seeds", "a"], "expected numbers and ranges"),
        (["--network", "G"], "use --network Gs"),
        (["--label", "cats"], "not conditional"),
        (["--model", "nothing"], "does not exist"),
        (["--sedes", "3"], 'did you mean "--seeds"'),
        (["--columns", "3"], "--columns has no effect without --grid"),
        (["--psi", "1", "--psi-cutoff", "2"], "--psi-cutoff has no effect with --psi 1"),
        (["--devices", "cpu:x"], "use auto, cpu, cpu:N"),
        (["--out", "/proc/pictures"], "/proc cannot be written"),
    ],
)
def test_bad_input(model, tmp_path, extra, message, capsys):
    arguments = ["--model", model, "--out", str(tmp_path), "--num", "1", *extra]
    if "--seeds" in extra:
        arguments.remove("--num")
        arguments.remove("1")
    assert run_program(generate, arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0], error


@pytest.mark.parametrize(
    "label, message",
    [([], "choose --label from cats, dogs"), (["--label", "dgos"], 'did you mean "dogs"')],
)
def test_bad_label(conditional, tmp_path, label, message, capsys):
    arguments = ["--model", conditional, "--out", str(tmp_path), *label]
    assert run_program(generate, arguments) == 2
    assert message in capsys.readouterr().err


def test_seeds():
    assert parse_seeds("0-3,9, 5") == [0, 1, 2, 3, 9, 5]


@pytest.mark.gpu
def test_sampler_gives_all_images_at_once(model, device):
    """The same as batch by batch, for more than a batch and with a rest; and as one alone."""
    generator = gansformer.load(model).Gs
    sampler = gansformer.Sampler(generator, psi=0.5, return_attention=True)
    size = 8 if device.startswith("CPU") else 32
    count = size + 3
    whole = sampler(range(count))
    parts = [out for _, out in sampler.batches(range(count))]
    assert len(parts) == 2 and whole.images.shape == (count, 8, 8, 3)
    np.testing.assert_array_equal(whole.images[size:], parts[1].images)
    np.testing.assert_array_equal(whole.w[:size], parts[0].w)
    assert [maps.shape[0] for maps in whole.attention] == [count] * len(parts[0].attention)
    np.testing.assert_array_equal(whole.images[-1:], sampler([count - 1]).images)


def test_bfloat16_stays_close(model, tmp_path):
    for precision in ("float32", "bfloat16"):
        generate(["--model", model, "--out", str(tmp_path / precision), "--num", "1",
                  "--precision", precision, "--ops", "reference"])  # fmt: skip
    files = (tmp_path / name / "seed000000.png" for name in ("float32", "bfloat16"))
    exact, rounded = (read(path).astype(int) for path in files)
    assert 0 < np.abs(exact - rounded).max() < 40
