"""Two devices against one on the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnnlib.cli import run as run_program
from scripts.train import main as train
from tests.golden_files import ROOT
from tests.training.states import SMOOTH, assert_same_weights
from training.run.checkpoint import list_checkpoints

# Six minibatches of 8 with every regulariser, on real pictures; noise drawn, no dropout.
CHANGES = [*SMOOTH, "training.batch_per_device={}", "training.style_mixing=0.9"]
OPTIONS = ["--kimg", "0.048", "--set", *CHANGES]


def run_training(arguments, devices: str, per_device: int, run: str) -> dict:
    """Train in a process of its own (virtual devices must be made first), return the state."""
    options = [option.format(per_device) for option in OPTIONS]
    arguments = [*arguments, *options, "--devices", devices, "--run", run]
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(list_checkpoints(Path(run))[-1] / "state.npz") as file:
        return dict(file)


@pytest.mark.slow
def test_two_replicas_equal_one(arguments, tmp_path):
    one = run_training(arguments, "cpu", 8, str(tmp_path / "one"))
    two = run_training(arguments, "cpu:2", 4, str(tmp_path / "two"))
    assert_same_weights(one, two)


def test_batch_that_does_not_divide(arguments, capsys):
    assert run_program(train, [*arguments, "--set", "discriminator.stddev_group=3"]) == 2
    assert "is not a multiple of discriminator.stddev_group=3" in capsys.readouterr().err
