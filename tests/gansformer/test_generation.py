"""generate.py: pictures from seeds."""

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
    generator, discriminator = gansformer.build(TINY, resolution=16, label_dim=label_dim, seed=1)
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


def test_same_seed_same_picture(model, tmp_path):
    generate(["--model", model, "--out", str(tmp_path / "a"), "--seeds", "0-9"])
    generate(["--model", model, "--out", str(tmp_path / "b"), "--seeds", "9,3"])
    assert len(list((tmp_path / "a").iterdir())) == 10
    for seed in (3, 9):
        name = f"seed{seed:06d}.png"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert np.abs(read(tmp_path / "a/seed000003.png") - read(tmp_path / "a/seed000009.png")).max()


def test_sheet_holds_the_single_pictures(model, tmp_path):
    single = ["--model", model, "--out", str(tmp_path), "--num", "5"]
    generate(single)
    generate([*single, "--grid", "--columns", "3", "--attention"])
    sheet = read(tmp_path / "grid.png")
    assert sheet.shape == (32, 48, 3)
    np.testing.assert_array_equal(sheet[16:, 16:32], read(tmp_path / "seed000004.png"))
    assert (sheet[16:, 32:] == 255).all()
    # five rows: the picture, and a map for each grid size from 4 to 16
    assert read(tmp_path / "attention.png").shape == (5 * 16, 4 * 16, 3)


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
        (["--out", "/proc/pictures"], "no such file or directory"),
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
