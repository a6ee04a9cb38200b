"""What a run reports, and refuses, when something changed between its start and a resume."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from dnnlib.cli import run as run_program
from scripts.prepare_data import main as prepare_data
from scripts.train import main as train
from tests.training.runs import assert_same_weights, train_in_process
from training.run.checkpoint import list_checkpoints


@pytest.fixture(scope="module")
def begun_run(small_config, small_data, tmp_path_factory):
    """A run that has started: grids and a checkpoint, nothing trained."""
    run = tmp_path_factory.mktemp("begun") / "run"
    places = ["--config", str(small_config), "--data", str(small_data), "--run", str(run)]
    train([*places, "--kimg", "0"])
    assert [path.name for path in list_checkpoints(run)] == ["0000000000"]
    return run


@pytest.fixture
def begun(begun_run, small_arguments, tmp_path):
    """The command line that continues a copy of it in `tmp_path/run`."""
    shutil.copytree(begun_run, tmp_path / "run")
    return [*small_arguments, "--kimg", "0"]


def files_of(run: Path) -> dict[str, bytes]:
    """Return the content of all files but those that any start touches."""
    paths = [path for path in run.rglob("*") if path.is_file()]
    return {str(p): p.read_bytes() for p in paths if p.name not in (".lock", "log.txt")}


def assert_refused(arguments, run: Path, message: str, capsys) -> None:
    before = files_of(run)
    assert run_program(train, arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0], error
    before = {name: content for name, content in before.items() if "tensorboard" not in name}
    after = files_of(run)
    assert before.items() <= after.items() and all(
        "tensorboard" in x for x in after.keys() - before
    )


def test_changes_are_reported(begun, tmp_path, capsys):
    changes = ["--kimg", "0.0", "--set", "training.gamma=3", "training.augmentation.mode=ada"]
    train([*begun, *changes])
    out = capsys.readouterr().out
    assert "training.gamma was 10.0, is now 3" in out
    assert "training.augmentation.mode was none, is now ada" in out
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["training"]["gamma"] == 3


def test_what_cannot_be_continued_is_refused(begun, tmp_path, capsys):
    options = ["generator.channel_max", "discriminator.stddev_group"]
    for option in [*options, "training.freeze_discriminator"]:
        change = f"{option}=1"
        arguments = [*begun, "--set", change]
        assert_refused(arguments, tmp_path / "run", f"was started with {option}=", capsys)


def test_another_data_set_is_refused(begun, tmp_path, capsys):
    other = tmp_path / "other"
    prepare_data(["demo", "--out", str(other), "--resolution", "8", "--max-images", "30"])
    message = f"{other} is not the data set that"
    assert_refused([*begun, "--data", str(other)], tmp_path / "run", message, capsys)
    copy = tmp_path / "copy"  # the same pictures elsewhere are the same data set
    shutil.copytree(begun[begun.index("--data") + 1], copy)
    train([*begun, "--data", str(copy)])
    shutil.copytree(other, copy, dirs_exist_ok=True)  # and changed in place they are another
    assert_refused([*begun, "--data", str(copy)], tmp_path / "run", "it was changed since", capsys)


@pytest.mark.parametrize("damage", ["truncated", "empty", "no state", "no description"])
def test_damaged_checkpoint(begun, tmp_path, capsys, damage):
    """The only checkpoint is damaged: named, and nothing is overwritten."""
    (checkpoint,) = list_checkpoints(tmp_path / "run")
    state = checkpoint / "state.npz"
    if damage == "truncated":
        os.truncate(state, state.stat().st_size // 2)
    elif damage == "empty":
        os.truncate(state, 0)
    else:
        (state if damage == "no state" else checkpoint / "checkpoint.json").unlink()
    assert_refused(begun, tmp_path / "run", "all checkpoints of", capsys)


def test_only_the_newest_is_damaged(begun, tmp_path, capsys):
    run = tmp_path / "run"
    (whole,) = list_checkpoints(run)
    newer = whole.with_name("0000000008")
    shutil.copytree(whole, newer)
    os.truncate(newer / "state.npz", 100)
    train(begun)
    out = capsys.readouterr().out
    assert f"{newer} is damaged (its checksum is wrong)" in out and f"resuming from {whole}" in out
    assert list_checkpoints(run) == [whole]


@pytest.mark.slow
def test_resume_with_two_devices(small_arguments, tmp_path):
    """One device to the middle and two devices to the end, against one device all the way."""
    whole, moved = tmp_path / "run", tmp_path / "moved"
    options = ["--kimg", "0.064", "--set", "training.batch_size=8", "output.keep_checkpoints=99"]
    one = [*small_arguments, *options, "training.batch_per_device=8"]
    expected = train_in_process(one)
    half = whole / "checkpoints" / "0000000032"
    two = [*small_arguments, *options, "training.batch_per_device=4", "--devices", "cpu:2"]
    found = train_in_process([*two, "--run", str(moved), "--resume", str(half)])
    assert expected["images_shown"] == found["images_shown"] == 64
    assert_same_weights(expected, found)
    name = "G/G_synthesis/4x4/Conv/weight"
    with np.load(half / "state.npz") as start:
        assert np.abs(expected[name] - start[name]).max() > 1e-3  # else it would say nothing
