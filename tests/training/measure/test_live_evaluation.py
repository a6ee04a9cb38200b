"""Metrics during training."""

import json

import pytest

import training.measure.live_evaluation
from scripts.train import main as train
from training.run.checkpoint import list_checkpoints
from training.step import TrainingStep

EVALUATED = ["--kimg", "0.024", "--set", "evaluation.metrics=fid10k", "evaluation.every_kimg=0.008"]
EVALUATED += ["training.regularizer=none", "output.checkpoint_minutes=0"]


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    """Minibatches only count: what is evaluated does not matter here."""

    def count(self, reals):
        self.state.images_shown.assign_add(self.config.training.batch_size)
        return []

    monkeypatch.setattr(TrainingStep, "run_minibatch", count)


def test_failing_evaluation_does_not_end_the_run(small_arguments, tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no weights\nhere")

    monkeypatch.setattr(training.measure.live_evaluation, "evaluate_generator", fail)
    train([*small_arguments, *EVALUATED])
    out = capsys.readouterr().out
    assert out.count("evaluation failed, training goes on: no weights here") == 3
    assert "finished 0.02 kimg" in out
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("name, best", [("fid10k", 16), ("pr10k3", 24)])
def test_best_snapshot_is_kept(small_arguments, tmp_path, monkeypatch, name, best):
    values = iter([3.0, 1.0, 9.0])
    evaluate = lambda *a, **o: {name: next(values)}  # noqa: E731
    monkeypatch.setattr(training.measure.live_evaluation, "evaluate_generator", evaluate)
    train([*small_arguments, *EVALUATED])
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["nimg"] for line in lines] == [8, 16, 24]
    kept = json.loads((run / "snapshots" / "best" / "config.json").read_text())
    assert kept["kimg"] == best / 1000
    kept = [int(path.name) for path in list_checkpoints(run)]
    assert kept == sorted({best, 20, 24})  # the newest two, and that of the best metric
    train([*small_arguments, *EVALUATED])  # finished: nothing is evaluated again
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_best_snapshot_of_a_run_killed_before_it_was_written(
    small_arguments, tmp_path, monkeypatch
):
    """The metrics' line is there and the snapshot is not: the resumed run writes it."""
    monkeypatch.setattr(
        training.measure.live_evaluation, "evaluate_generator", lambda *a, **o: {"fid10k": 1.0}
    )
    run = tmp_path / "run"
    train([*small_arguments, *EVALUATED, "--kimg", "0.004"])
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"nimg": 8, "kimg": 0.008, "metrics": {"fid10k": 0.5}}\n{"nimg": 16, "ki')
    train([*small_arguments, *EVALUATED])
    kept = json.loads((run / "snapshots" / "best" / "config.json").read_text())
    assert kept["kimg"] == 0.008
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["nimg"] for line in lines] == [4, 8, 16, 24]
