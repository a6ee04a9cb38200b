"""Metrics during training: a curve, and the best snapshot kept."""

import json
from pathlib import Path

from datasets.dataset import Dataset
from gansformer.generator import Generator
from metrics.comparison import Comparison
from training.evaluation import evaluate_generator

HIGHER_IS_BETTER = ("is", "pr", "dc")


class LiveEvaluation:
    """Evaluates the moving average now and then; a failure is reported and never ends the run."""

    def __init__(self, run: Path, metrics: str, *, mirror: bool, report):
        self.path, self.metrics, self.mirror, self.report = (
            run / "metrics.jsonl",
            metrics,
            mirror,
            report,
        )
        self.comparison = Comparison(report=report)
        self.entries = []
        if self.path.is_file():
            self.entries = [json.loads(line) for line in self.path.read_text().splitlines()]

    def evaluate(self, generator: Generator, dataset: Dataset, nimg: int) -> bool:
        """Append the metrics at `nimg` images shown; return whether the first is the best."""
        if any(entry.get("nimg") == nimg for entry in self.entries):
            return False  # already there from before a resume
        try:
            values = evaluate_generator(
                generator, dataset, self.metrics, comparison=self.comparison, mirror=self.mirror
            )
        except (
            Exception
        ) as error:  # weights that cannot be had, memory, a full disk: training goes on
            self.report(f"evaluation failed, training goes on: {' '.join(str(error).split())}")
            return False
        entry = {"nimg": nimg, "kimg": nimg / 1000, "metrics": values, "data": dataset.digest}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.entries.append(entry)
        self.report("  ".join(f"{name} {value:.4f}" for name, value in values.items()))
        return self._is_best(next(iter(values)))

    def _is_best(self, name: str) -> bool:
        series = [e["metrics"][name] for e in self.entries if name in e.get("metrics", {})]
        better = max if name.startswith(HIGHER_IS_BETTER) else min
        return series[-1] == better(series)
