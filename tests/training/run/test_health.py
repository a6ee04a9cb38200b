"""What a run does when its numbers, its memory or its disk go wrong."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml

import training.loop
from dnnlib.cli import run as run_program
from dnnlib.errors import UserError
from scripts.train import main as train
from training.phases import PhaseLosses
from training.run.checkpoint import list_checkpoints, newest_checkpoint, save_checkpoint
from training.run.health import find_bad
from training.run.samples import pixel_distance
from training.run.statistics import TickMeans
from training.step import TrainingStep


def poison_reals(monkeypatch, bad_minibatches) -> None:
    """Make the real pictures of some minibatches (numbered from 0) NaN."""
    poison = tf.Variable(0.0, trainable=False)
    prepare, run_minibatch = PhaseLosses.prepare, TrainingStep.run_minibatch

    def run_poisoned(self, reals):
        number = int(self.state.images_shown.numpy()) // self.config.training.batch_size
        poison.assign(np.nan if number in bad_minibatches else 0.0)
        return run_minibatch(self, reals)

    monkeypatch.setattr(PhaseLosses, "prepare", lambda *a: prepare(*a) + poison)
    monkeypatch.setattr(TrainingStep, "run_minibatch", run_poisoned)


def test_numbers_that_are_not_finite(small_arguments, tmp_path, monkeypatch, capsys):
    """One bad minibatch is counted and survived; when they go on, the run ends with a bundle."""
    monkeypatch.setattr(training.loop, "PATIENCE", 4)
    poison_reals(monkeypatch, {1, *range(5, 100)})
    arguments = [*small_arguments, "--set", "training.regularizer=none", "--ops", "reference"]
    assert run_program(train, arguments) == 2
    run = tmp_path / "run"
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and "broke down at 0.04 kimg" in error
    text = (run / "stats.jsonl").read_text()
    assert "NaN" not in text  # which is no JSON
    ticks = [json.loads(line) for line in text.splitlines()]
    assert [tick["nimg"] for tick in ticks] == [4, 12, 24, 36]
    shares = [tick["health/nonfinite"] for tick in ticks]
    assert shares == pytest.approx([0, 1 / 2, 1 / 3, 1])
    assert np.isfinite(ticks[1]["loss/discriminator"]) and "loss/discriminator" not in ticks[3]
    crash = json.loads((run / "crash-000000" / "crash.json").read_text())
    assert crash["minibatch"] == 9 and crash["bad_minibatches_in_a_row"] == 4
    assert crash["first_bad_tensor"].startswith("gradient of D/")
    assert "norm/discriminator" in crash["bad_statistics"]
    assert crash["last_statistics"] == ticks
    bundled = yaml.safe_load((run / "crash-000000" / "config.yaml").read_text())
    assert bundled["training"]["regularizer"] == "none"
    # Elements that are not finite were taken as 0, as in the official optimiser.
    with np.load(newest_checkpoint(run) / "state.npz") as state:
        assert find_bad(dict(state)) is None


def test_first_bad_tensor_is_named():
    good, bad = np.ones(3), np.array([1.0, np.inf])
    assert find_bad({"G/a": good, "G/b": bad, "G/c": bad}) == "G/b"
    assert find_bad({"G/a": good, "images_shown": np.int64(3)}) is None


def test_bad_weights_are_not_saved(small_arguments, tmp_path, monkeypatch, capsys):
    def spoil(self, reals):
        weight = self.state.discriminator.trainable_variables[0]
        weight.assign(weight * np.nan)
        self.state.images_shown.assign_add(4)
        return []

    monkeypatch.setattr(TrainingStep, "run_minibatch", spoil)
    assert run_program(train, small_arguments) == 2
    assert "D/" in capsys.readouterr().err
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["0000000000"]


def test_row_of_bad_minibatches_goes_on_over_a_resume():
    means = TickMeans()
    minibatch = [{"loss": tf.constant(1.0)}, {"norm": tf.constant(np.nan)}]
    means.add(minibatch)
    means.add(minibatch)
    resumed = TickMeans(json.loads(json.dumps(means.state())))
    resumed.add(minibatch)
    assert resumed.finish() == {"loss": 1.0, "health/nonfinite": 1.0}
    assert resumed.bad_in_a_row == 3 and resumed.bad_names == ["norm"]


def test_out_of_memory_names_the_setting(small_arguments, monkeypatch, capsys):
    def fail(self, reals):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nHint: ...")

    monkeypatch.setattr(TrainingStep, "run_minibatch", fail)
    assert run_program(train, small_arguments) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "training.batch_per_device=4" in error and "training.batch_per_device=2" in error


def test_too_little_space_is_reported_before_writing(tmp_path, monkeypatch):
    values = {"images_shown": np.int64(8), "G/weight": np.zeros(1000, np.float32)}
    first = save_checkpoint(tmp_path, values, {})
    usage = shutil.disk_usage(tmp_path)._replace(free=1_003_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="has 1.0 MB left, a checkpoint needs.*free some space"):
        save_checkpoint(tmp_path, values | {"images_shown": np.int64(16)}, {})
    assert list_checkpoints(tmp_path) == [first]


def test_disk_that_fills_up_while_writing(tmp_path, monkeypatch):
    values = {"images_shown": np.int64(8), "G/weight": np.zeros(1000, np.float32)}
    first = save_checkpoint(tmp_path, values, {"tick": 1})

    def write_half(path, **arrays):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(np, "savez", write_half)
    with pytest.raises(OSError, match="No space left"):  # dnnlib.cli makes one line of it
        save_checkpoint(tmp_path, values | {"images_shown": np.int64(16)}, {})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [first.name]
    assert newest_checkpoint(tmp_path) == first


def test_pixel_distance_tells_a_collapse():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, [16, 8, 8, 3]).astype(np.uint8)
    pairs = [(a, b) for a in range(16) for b in range(a)]
    scaled = images / 127.5
    squares = [np.square(scaled[a] - scaled[b]).mean() for a, b in pairs]
    assert pixel_distance(images) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-5)
    assert pixel_distance(np.repeat(images[:1], 16, axis=0)) < 1e-6
