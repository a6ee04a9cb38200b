"""Metrics during training: a curve, and the best snapshot kept."""

from pathlib import Path

from datasets.dataset import Dataset
from dnnlib.json_lines import append_line, cut_partial_line, read_lines
from gansformer.generator import Generator
from metrics.comparison import Comparison
from training.measure.evaluation import evaluate_generator

HIGHER_IS_BETTER = ("is", "pr", "dc")


class LiveEvaluation:
    """Evaluates the moving average; a failure is reported and does not end the run."""

    def __init__(self, run: Path, metrics: str, *, mirror: bool, report):
        self.path = run / "metrics.jsonl"
        self.metrics, self.mirror, self.report = metrics, mirror, report
        self.comparison = Comparison(report=report)
        cut_partial_line(self.path)
        self.entries = [entry for entry in read_lines(self.path) if "nimg" in entry]

    def evaluate(self, generator: Generator, dataset: Dataset, nimg: int) -> bool:
        """Append the metrics at `nimg` images shown; return whether the first is the best."""
        if any(entry.get("nimg") == nimg for entry in self.entries):
            return self.best == nimg  # there from before a resume, but perhaps its snapshot is not
        try:
            values = evaluate_generator(
                generator, dataset, self.metrics, comparison=self.comparison, mirror=self.mirror
            )
        except Exception as error:  # missing weights, memory, a full disk: training goes on
            self.report(f"evaluation failed, training goes on: {' '.join(str(error).split())}")
            return False
        entry = {"nimg": nimg, "kimg": nimg / 1000, "metrics": values, "data": dataset.digest}
        append_line(self.path, entry)
        self.entries.append(entry)
        self.report("  ".join(f"{name} {value:.4f}" for name, value in values.items()))
        return self.best == nimg

    @property
    def best(self) -> int | None:
        """Images shown when the first metric was best; None: it was never measured."""
        if not self.entries:
            return None
        name = next(iter(self.entries[-1]["metrics"]))
        sign = 1 if name.startswith(HIGHER_IS_BETTER) else -1
        measured = [entry for entry in self.entries if name in entry["metrics"]]
        return max(measured, key=lambda e: (sign * e["metrics"][name], e["nimg"]))["nimg"]

    def at(self, nimg: int) -> dict[str, float]:
        """Return the metrics at `nimg` images shown, none if they could not be measured."""
        found = [entry["metrics"] for entry in self.entries if entry["nimg"] == nimg]
        return found[-1] if found else {}
