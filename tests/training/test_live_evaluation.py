"""Metrics during training."""

import json

import pytest

import training.live_evaluation
from scripts.train import main as train

EVALUATED = ["--kimg", "0.024", "--set", "evaluation.metrics=fid10k", "evaluation.every_kimg=0.008"]
EVALUATED += ["training.path_length_weight=0", "training.regularizer=none"]  # quicker to trace


def test_failing_evaluation_does_not_end_the_run(arguments, tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no weights\nhere")

    monkeypatch.setattr(training.live_evaluation, "evaluate_generator", fail)
    train([*arguments, *EVALUATED])
    out = capsys.readouterr().out
    assert out.count("evaluation failed, training goes on: no weights here") == 3
    assert "finished 0.02 kimg" in out
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("name, best", [("fid10k", 16), ("pr10k3", 24)])
def test_best_snapshot_is_kept(arguments, tmp_path, monkeypatch, name, best):
    values = iter([3.0, 1.0, 9.0])
    evaluate = lambda *a, **o: {name: next(values)}  # noqa: E731
    monkeypatch.setattr(training.live_evaluation, "evaluate_generator", evaluate)
    train([*arguments, *EVALUATED])
    run = tmp_path / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["nimg"] for line in lines] == [8, 16, 24]
    kept = json.loads((run / "snapshots" / "best" / "config.json").read_text())
    assert kept["kimg"] == best / 1000
    train([*arguments, *EVALUATED])  # finished: nothing is evaluated again
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
