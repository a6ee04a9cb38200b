"""What the runs of a study have come to, read from their directories alone. Without TensorFlow."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from dnnlib.config import from_mapping, read_yaml
from dnnlib.errors import MissingFile, UserError
from dnnlib.json_lines import read_lines
from metrics.names import Metric
from training.run.lock import is_held
from training.study.plan import Study

DESCRIPTION = "study.json"


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: a row of a study with a seed.

    ticks: of stats.jsonl. points: records of metrics.jsonl by thousands of images. config: the
    resolved configuration. device, precision: as the log names them.
    """

    row: str
    seed: int
    run: Path
    ticks: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    points: dict[float, dict[str, Any]] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    processor: str = ""
    device: str = ""
    precision: str = ""
    parameters: str = ""

    @property
    def kimg(self) -> float:
        """How far it is."""
        return self.ticks[-1]["kimg"] if self.ticks else 0.0

    @property
    def sec_per_kimg(self) -> float | None:
        """Median over ticks, the first left out: it includes the start."""
        rates = sorted(tick["timing/sec_per_kimg"] for tick in self.ticks[1:] or self.ticks)
        return rates[len(rates) // 2] if rates else None

    @property
    def memory_gb(self) -> float | None:
        """Peak."""
        values = [tick["resources/peak_memory_gb"] for tick in self.ticks]
        return max(values, default=None)

    def hours_at(self, kimg: float) -> float:
        """Return the hours of training up to `kimg`, as the ticks' rates say."""
        seconds, before = 0.0, 0.0
        for tick in self.ticks:
            part = min(tick["kimg"], kimg) - before
            if part <= 0:
                break
            seconds += part * tick["timing/sec_per_kimg"]
            before = tick["kimg"]
        return seconds / 3600

    def is_complete(self, study: Study) -> bool:
        """Say whether it is trained to the end and measured at the last point."""
        return self.kimg >= study.kimg and study.points[-1] in self.points

    def state(self, study: Study) -> str:
        """Return how far it is, in words."""
        if not self.ticks and not is_held(self.run):
            return "not started"
        if self.kimg < study.kimg:
            doing = "training" if is_held(self.run) else "stopped"
            return f"{doing}, {self.kimg:.4g} of {study.kimg:g} kimg"
        missing = [point for point in study.points if point not in self.points]
        return f"trained; {len(missing)} points to measure" if missing else "finished"


def read_points(run: Path) -> dict[float, dict[str, Any]]:
    """Return what a study has measured of a run, by point; metrics of several records together."""
    found: dict[float, dict[str, Any]] = {}
    for record in read_lines(run / "metrics.jsonl"):
        if "point" in record:
            before = found.get(record["point"], {"metrics": {}, "networks": {}})
            joined = {name: before[name] | record[name] for name in ("metrics", "networks")}
            found[record["point"]] = record | joined
    return dict(sorted(found.items()))


def is_of(metric: Metric, name: str) -> bool:
    """Say whether a value of this name is one of a metric's, which may have two: pr10k3_recall."""
    return name == metric.name or name.startswith(f"{metric.name}_")


def read_result(row: str, seed: int, run: Path) -> Result:
    """Read the directory of a run; it may be empty, or not exist."""
    log = run / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    config = run / "config.yaml"
    description = _read_description(run) if (run / DESCRIPTION).is_file() else {}
    return Result(
        row,
        seed,
        run,
        ticks=read_lines(run / "stats.jsonl"),
        points=read_points(run),
        config=read_yaml(config) if config.is_file() else {},
        processor=description.get("processor", ""),
        device=_last(r"device\(s\) \((.*)\);", text),
        precision=_last(r"attention \w+; (\w+);", text),
        parameters=_last(r"networks: (.*? parameters);", text),
    )


def _last(pattern: str, text: str) -> str:
    return next(iter(re.findall(pattern, text)[-1:]), "")


def find_results(study: Study, directory: Path) -> list[Result]:
    """Return the results of all rows and seeds of a study, also of those not started.

    Runs of other seeds than the study's count as well; where there are none but these, the study's
    seeds are not waited for.
    """
    begun: dict[str, set[int]] = {row.name: set() for row in study.rows}
    for path in directory.glob(f"*-seed*/{DESCRIPTION}"):
        description = _read_description(path.parent)
        if description["row"] in begun:
            begun[description["row"]].add(description["seed"])
    wanted, seeds = set(study.seeds), set().union(*begun.values())
    if seeds and seeds.isdisjoint(wanted):
        wanted = seeds
    return [
        read_result(name, seed, directory / f"{name}-seed{seed}")
        for name, numbers in begun.items()
        for seed in sorted(wanted | numbers)
    ]


def read_study(directory: Path) -> Study:
    """Return the study that the runs in a directory belong to, from these themselves.

    Of runs that describe it differently, the last one written counts.
    """
    paths = sorted(directory.glob(f"*/{DESCRIPTION}"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise MissingFile(
            f"{directory} holds no runs of a study; give the name of a study, its file, or the "
            "directory of its runs"
        )
    return from_mapping(Study, _read_description(paths[-1].parent)["study"])


def _read_description(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / DESCRIPTION).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{run / DESCRIPTION} is damaged ({error}); remove it") from None
