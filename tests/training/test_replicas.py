"""Two devices against one on the same global batch."""

import pytest

from dnnlib.cli import run as run_program
from scripts.train import main as train
from tests.training.runs import SMOOTH, assert_same_weights, train_in_process
from training.replicas import divide

# Six minibatches of 8 with every regulariser, on real images; noise drawn, no dropout.
OPTIONS = ["--kimg", "0.048", "--set", *SMOOTH, "training.style_mixing=0.9"]


def on_devices(arguments, devices: str, per_device: int, run: str) -> list[str]:
    """Return the arguments of a run on these devices."""
    options = [*OPTIONS, f"training.batch_per_device={per_device}"]
    return [*arguments, *options, "--devices", devices, "--run", run]


@pytest.mark.slow
def test_two_replicas_equal_one(arguments, tmp_path):
    one = train_in_process(on_devices(arguments, "cpu", 8, str(tmp_path / "one")))
    two = train_in_process(on_devices(arguments, "cpu:2", 4, str(tmp_path / "two")))
    assert_same_weights(one, two)


def test_batch_that_does_not_divide(arguments, capsys):
    assert run_program(train, [*arguments, "--set", "discriminator.stddev_group=3"]) == 2
    assert "is not a multiple of discriminator.stddev_group=3" in capsys.readouterr().err


@pytest.mark.parametrize(("batch", "replicas", "group"), [(16, 2, 4), (8, 4, 1), (32, 4, 8)])
def test_replicas_take_whole_groups_and_the_same_first_halves(batch, replicas, group):
    parts = divide(batch, replicas, group)
    assert sorted(parts.reshape(-1)) == list(range(batch))
    groups_of_all = {frozenset(range(m, batch, batch // group)) for m in range(batch // group)}
    count = batch // replicas
    for part in parts:
        groups = {frozenset(part[m :: count // group].tolist()) for m in range(count // group)}
        assert groups <= groups_of_all or group == 1
    assert sorted(parts[:, : count // 2].reshape(-1)) == list(range(batch // 2))
