"""A run that is killed at any instant and started again ends as one that never was."""

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from scripts.train import main as train
from tests.training.event_files import read_events
from tests.training.runs import read_stats
from training.run.checkpoint import list_checkpoints

KILLS = 20
RANDOM = random.Random(7)


def run_quietly(arguments: list[str], log: Path) -> None:
    with open(log, "a") as file, contextlib.redirect_stdout(file):
        train(arguments)


def make_starter(arguments: list[str], log: Path):
    """Return a function that starts the program in a process of its own.

    The processes are forked from one that has imported TensorFlow and done nothing with it: they
    start as the program does, only sooner.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "training.loop"])

    def start() -> multiprocessing.Process:
        process = context.Process(target=run_quietly, args=(arguments, log))
        process.start()
        return process

    return start


def newest(run: Path) -> str:
    return "".join(path.name for path in list_checkpoints(run)[-1:])


def writes_checkpoint(run: Path) -> bool:
    directory = run / "checkpoints"
    return directory.is_dir() and any(name.startswith(".") for name in os.listdir(directory))


def wait_until(condition, process) -> None:
    while not condition():
        assert process.is_alive(), "the run ended before it was killed"
        time.sleep(0.0002)


def kill_some_time(process, run: Path, moment: str) -> None:
    """Kill during start-up, between minibatches or while it writes a checkpoint."""
    before = newest(run)
    if moment == "start":
        time.sleep(RANDOM.uniform(0, 3))
    else:
        wait_until(lambda: newest(run) > before, process)
        time.sleep(RANDOM.uniform(0, 0.15))
    if moment == "checkpoint":
        wait_until(lambda: writes_checkpoint(run), process)
        time.sleep(RANDOM.uniform(0, 0.01))
    assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_twenty_kills(small_arguments, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    uninterrupted = make_starter([*small_arguments, "--run", str(whole)], tmp_path / "whole.txt")()
    start = make_starter(small_arguments, tmp_path / "log.txt")
    moments = itertools.cycle(["checkpoint", "minibatch", "checkpoint", "start"])
    torn = 0
    for _, moment in zip(range(KILLS), moments, strict=False):
        kill_some_time(start(), run, moment)
        torn += writes_checkpoint(run)
    assert torn >= 3, "no checkpoint was being written when the run was killed"
    last = start()
    last.join()
    uninterrupted.join()
    assert last.exitcode == uninterrupted.exitcode == 0
    assert not writes_checkpoint(run)  # what the killed ones left was removed
    assert read_stats(run) == read_stats(whole)
    for pattern in ("checkpoints/0000000400/state.npz", "samples/*", "snapshots/*/*"):
        files = sorted(path.relative_to(whole) for path in whole.glob(pattern))
        assert files and files == sorted(path.relative_to(run) for path in run.glob(pattern))
        for file in files:
            assert (whole / file).read_bytes() == (run / file).read_bytes(), file
    assert read_events(run) == read_events(whole)
