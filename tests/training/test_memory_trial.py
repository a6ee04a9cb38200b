"""Whether a minibatch fits into memory, tried in another process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib.computing import ComputingOptions
from dnnlib.errors import UserError
from tests.golden_files import ROOT
from training.config import RunConfig, load_config
from training.memory_trial import fits_in_memory

pytestmark = pytest.mark.slow


@pytest.fixture
def config(small_config) -> RunConfig:
    return load_config(small_config)


def test_each_phase_is_computed(config):
    assert fits_in_memory(config, ComputingOptions("cpu"), channels=3, label_dim=2)


def test_a_trial_ends_with_the_process_that_wants_to_know(small_config):
    code = (
        "from dnnlib.computing import ComputingOptions as Computing\n"
        "from training.config import load_config\n"
        "from training.memory_trial import fits_in_memory\n"
        f"config = load_config({str(small_config)!r})\n"
        "fits_in_memory(config, Computing('cpu'), channels=3, label_dim=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    (trial,) = children.read_text().split()
    time.sleep(2)  # it imports TensorFlow, or computes
    process.kill()
    process.wait()
    deadline = time.monotonic() + 1
    while is_running(trial):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_failure_for_another_reason_is_none_of_memory(config):
    with pytest.raises(UserError, match="=4 could not be tried; .*: dnnlib.errors.UserError: "):
        fits_in_memory(config, ComputingOptions("gpu:99"), channels=3, label_dim=0)
