"""Running train.py, reading what it wrote, and comparing two runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from scripts.train import main as train
from tests.golden_files import ROOT
from training.run.checkpoint import list_checkpoints

# Values of --set. Without them, rounding now and then becomes a visible difference in a single
# element: leaky ReLU's slope jumps at 0, and Adam turns a gradient next to zero into a whole step.
SMOOTH = [
    "generator.activation=swish",
    "discriminator.activation=swish",
    "training.epsilon=0.01",
]


def train_in_process(arguments) -> dict[str, np.ndarray]:
    """Train in a process of its own (virtual devices must be made first), return the last state."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    last_run = max(n for n, argument in enumerate(arguments) if argument == "--run")
    return read_state(Path(arguments[last_run + 1]))


def read_state(run: Path) -> dict[str, np.ndarray]:
    """Return the newest checkpoint's variables."""
    with np.load(list_checkpoints(run)[-1] / "state.npz") as file:
        return dict(file)


def read_stats(run: Path) -> list[dict]:
    """Return what stats.jsonl holds but for times."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    changing = ("timing/", "resources/")
    return [{k: v for k, v in line.items() if not k.startswith(changing)} for line in lines]


def assert_same_run(first: Path, second: Path) -> None:
    """Compare everything that two runs wrote but for times, byte for byte."""
    assert read_stats(first) == read_stats(second)
    assert_same_state(first, second)
    grids = sorted(path.name for path in (first / "samples").iterdir())
    assert grids == sorted(path.name for path in (second / "samples").iterdir())
    for name in grids:
        assert (first / "samples" / name).read_bytes() == (second / "samples" / name).read_bytes()


def assert_same_state(first: Path, second: Path) -> None:
    """Compare the variables of two runs' newest checkpoints, bit for bit."""
    one, other = read_state(first), read_state(second)
    assert sorted(one) == sorted(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_same_weights(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> None:
    """Every element of the networks agrees within 1e-5, relative to variables larger than 1."""
    assert sorted(one) == sorted(two)
    for name, value in one.items():
        if name.startswith(("G/", "D/", "Gs/")) and value.size:
            scale = max(1.0, float(np.abs(value).max()))
            assert np.abs(value - two[name]).max() < 1e-5 * scale, name


def check_resuming(arguments: Callable[..., list[str]], folder: Path) -> None:
    """A run in two parts ends with the state of one that was not interrupted.

    arguments: of train.py, a function of the run, the kimg and values of --set.
    """
    train(arguments(folder / "whole", 0.024))
    for kimg in (0.012, 0.024):
        train(arguments(folder / "parts", kimg))
    assert_same_state(folder / "whole", folder / "parts")


def check_replicas(arguments: Callable[..., list[str]], folder: Path) -> None:
    """Two replicas compute what one does on the same batch. arguments: see `check_resuming`."""
    options = [*SMOOTH, "training.batch_size=8", "discriminator.stddev_group=4"]
    found = []
    for devices, size in (("cpu", 8), ("cpu:2", 4)):
        part = f"training.batch_per_device={size}"
        run = arguments(folder / devices, 0.024, *options, part)
        found.append(train_in_process([*run, "--devices", devices]))
    assert_same_weights(*found)
