"""When the loop writes what."""

import pytest

import datasets
from training.config import load_config
from training.loop import TrainingLoop
from training.state import TrainState

BATCH = 4


@pytest.fixture
def loop(small_config, small_data, tmp_path, monkeypatch):
    """A loop that notes what it would write."""
    options = ["output.tick_kimg=0.008", "output.grid_kimg=0.012", "output.snapshot_kimg=0.02"]
    options += ["output.checkpoint_minutes=10"]
    config = load_config(str(small_config), options)
    dataset = datasets.open_dataset(small_data, config.data.resolution)
    state = TrainState(config, channels=3, label_dim=0)
    loop = TrainingLoop(config, state, dataset, tmp_path / "run", lambda line: None)
    loop.written = []
    note = lambda what: lambda *arguments: loop.written.append((loop.shown, what))  # noqa: E731
    monkeypatch.setattr(loop, "finish_tick", note("tick"))
    monkeypatch.setattr(loop, "save_grid", note("grid"))
    monkeypatch.setattr(loop, "save_snapshot", note("snapshot"))
    monkeypatch.setattr(loop, "save_checkpoint", note("checkpoint"))
    return loop


def advance(loop, minibatches, finished=False):
    for _ in range(minibatches):
        before = loop.shown
        loop.state.images_shown.assign_add(BATCH)
        loop.write_what_is_due(before, finished=finished)


def test_everything_at_its_interval(loop):
    """At multiples of the interval; statistics of the very first minibatch as well."""
    advance(loop, 6)
    written = {what: [n for n, w in loop.written if w == what] for what in ("tick", "grid")}
    assert written == {"tick": [4, 8, 16, 24], "grid": [12, 24]}
    assert [n for n, what in loop.written if what == "snapshot"] == [20]
    assert "checkpoint" not in [what for _, what in loop.written]


def test_everything_at_the_end(loop):
    advance(loop, 1)
    loop.written.clear()
    advance(loop, 1, finished=True)
    assert [what for _, what in loop.written] == ["grid", "tick", "snapshot"]


def test_checkpoints_by_the_clock(loop):
    loop.checkpoint_time -= 9 * 60
    advance(loop, 1)
    assert (BATCH, "checkpoint") not in loop.written
    loop.checkpoint_time -= 2 * 60
    advance(loop, 1)
    assert loop.written[-1] == (2 * BATCH, "checkpoint")
