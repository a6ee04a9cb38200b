"""The progress of a run, read from its files. Without TensorFlow, so that it answers at once."""

import json
import time
from pathlib import Path
from typing import Any

import yaml

from dnnlib.errors import MissingFile
from dnnlib.json_lines import read_lines
from dnnlib.progress import format_duration
from training.run.checkpoint import list_checkpoints
from training.run.lock import describe_holder, is_held

LOSSES = {
    "loss/generator": "G",
    "loss/discriminator": "D",
    "loss/regularizer": "reg",
    "path_length": "pl",
}


def format_status(run: Path) -> str:
    """Return a few lines about a run. Raises MissingFile if there is none."""
    if not (run / "config.yaml").is_file():
        raise MissingFile(
            f"{run} is not a run (it has no config.yaml); give the directory of a run"
        )
    training = (yaml.safe_load((run / "config.yaml").read_text()) or {}).get("training") or {}
    total = float(training.get("kimg", 0))
    ticks, metrics = read_lines(run / "stats.jsonl"), read_lines(run / "metrics.jsonl")
    held = is_held(run)
    last = ticks[-1] if ticks else None
    lines = [f"{run}: {_state(run, held, last, total)}"]
    lines += _progress(last, total, held) if last else ["  no tick yet"]
    checkpoints = list_checkpoints(run)
    lines.append("  checkpoints: " + (", ".join(map(_describe_checkpoint, checkpoints)) or "none"))
    snapshots = [path.name for path in sorted((run / "snapshots").glob("*"))]
    lines.append("  snapshots: " + (", ".join(snapshots[-6:]) or "none"))
    if metrics:
        lines.append("  metrics: " + _describe_metrics(metrics[-1]))
    return "\n".join(lines)


def _state(run: Path, held: bool, last: dict[str, Any] | None, total: float) -> str:
    if held:
        return f"running, {describe_holder(run)}"
    if last and last["kimg"] >= total:
        return "finished"
    crashes = sorted(run.glob("crash-*/crash.json"))
    if crashes:
        crash = json.loads(crashes[-1].read_text())
        ended = f"broke down at {crash['kimg']:.2f} kimg ({crash['first_bad_tensor']} not finite)"
        return f"not running; {ended}, see {crashes[-1]}"
    return "not running; run the same command to continue"


def _progress(last: dict[str, Any], total: float, held: bool) -> list[str]:
    done = last["kimg"] / total if total else 1.0
    line = f"  {last['kimg']:.2f} of {total:g} kimg ({done:.0%}), tick {last['tick']}"
    line += f", {last['timing/img_per_sec']:.1f} img/s"
    left = max(total - last["kimg"], 0)
    if held and left:
        line += f", {format_duration(left * last['timing/sec_per_kimg'])} left"
    losses = [f"{short} {last[name]:.3f}" for name, short in LOSSES.items() if name in last]
    bad = last.get("health/nonfinite", 0)
    if bad:
        losses.append(f"not finite in {bad:.0%} of the minibatches")
    return [line, "  loss " + "  ".join(losses)]


def _describe_checkpoint(path: Path) -> str:
    age = format_duration(max(time.time() - path.stat().st_mtime, 0))
    return f"{int(path.name) / 1000:g} kimg ({age} ago)"


def _describe_metrics(entry: dict[str, Any]) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in entry["metrics"].items())
    return f"{values}  at {entry['kimg']:g} kimg"
