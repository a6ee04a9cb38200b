"""Statistics of a run: collected over a tick, printed, appended to stats.jsonl and TensorBoard."""

import math
import resource
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

from dnnlib.json_lines import append_line, cut_partial_line, read_lines
from dnnlib.progress import format_duration
from training.run.tensorboard import TensorBoard


class TickMeans:
    """Means of scalars over one tick; the tensors are not waited for until they are needed.

    Numbers that are not finite are left out. `health/nonfinite` is the fraction of minibatches that
    had one, `bad_in_a_row` how many of the latest had one, `bad_names` what they were. Those of a
    phase with an "overflow/" are only left out: a smaller loss scale is enough.
    """

    def __init__(self, state: dict[str, Any] | None = None):
        state = state or {}
        self.sums: dict[str, list[float]] = state.get("sums", {})  # name -> [sum, count]
        self.bad_in_a_row: int = state.get("bad_in_a_row", 0)
        self.bad_names: list[str] = []
        self.pending: list[list[dict[str, tf.Tensor]]] = []

    def add(self, statistics: list[dict[str, tf.Tensor]]) -> None:
        """Add the statistics of one minibatch."""
        self.pending.append(statistics)

    def add_value(self, name: str, value: float) -> None:
        """Add one number that is already known."""
        if math.isfinite(value):
            total = self.sums.setdefault(name, [0.0, 0])
            total[0] += value
            total[1] += 1

    def state(self) -> dict[str, Any]:
        """Wait for what has been collected so far, and return it as plain data."""
        for minibatch in self.pending:
            phases = [{name: float(x) for name, x in phase.items()} for phase in minibatch]
            values = [item for phase in phases for item in phase.items()]
            bad = [name for phase in phases for name in _bad_names(phase)]
            self.bad_names = bad or self.bad_names
            self.bad_in_a_row = self.bad_in_a_row + 1 if bad else 0
            for name, value in [*values, ("health/nonfinite", float(bool(bad)))]:
                self.add_value(name, value)
        self.pending = []
        return {"sums": self.sums, "bad_in_a_row": self.bad_in_a_row}

    def finish(self) -> dict[str, float]:
        """Return the means, and begin again."""
        self.state()
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def _bad_names(phase: dict[str, float]) -> list[str]:
    """Return what is not finite in the statistics of a phase, unless its loss scale overflowed."""
    if any(value for name, value in phase.items() if name.startswith("overflow/")):
        return []
    return [name for name, value in phase.items() if not math.isfinite(value)]


class StatisticsLog:
    """Writes one object for each tick. Ticks that the file already has (from before a resume) are
    not written again: there are no gaps and no doubles."""

    def __init__(self, run: Path):
        self.path = run / "stats.jsonl"
        cut_partial_line(self.path)
        entries = read_lines(self.path)
        self.last_images = entries[-1]["nimg"] if entries else -1
        self.tensorboard = TensorBoard(run / "tensorboard")

    def write(self, entry: dict[str, Any]) -> None:
        """Append one tick; `nimg` says how far the run is."""
        if entry["nimg"] > self.last_images:
            append_line(self.path, entry)
            self.last_images = entry["nimg"]
        scalars = {name: value for name, value in entry.items() if "/" in name}
        self.tensorboard.write_scalars(scalars, entry["nimg"])


def format_tick(entry: dict[str, Any], total_kimg: float) -> str:
    """Return the line that is printed for a tick, in fixed widths."""
    left_s = max(total_kimg - entry["kimg"], 0) * entry["timing/sec_per_kimg"]
    # What was never computed in a tick is no failure; what was left out as not finite is one.
    missing = "nan" if entry.get("health/nonfinite") else "-"

    def number(name: str, width: int, digits: int) -> str:
        return f"{entry[name]:{width}.{digits}f}" if name in entry else f"{missing:>{width}}"

    path_length = f"  pl {entry['path_length']:6.3f}" if "path_length" in entry else ""
    return (
        f"tick {entry['tick']:<5d} kimg {entry['kimg']:<9.2f}"
        f" {entry['timing/img_per_sec']:6.1f} img/s {entry['timing/sec_per_kimg']:7.1f} sec/kimg"
        f"  left {format_duration(left_s):>8s}"
        f"  loss G {number('loss/generator', 6, 3)} D {number('loss/discriminator', 6, 3)}"
        f" reg {number('loss/regularizer', 7, 4)}{path_length}"
        f"  mem {entry['resources/peak_memory_gb']:4.1f} GB"
    )


def peak_memory_gb() -> float:
    """Return the most memory that this process ever had, in GB (10^9 bytes).

    On GPUs it is theirs: that of the one with the most.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        names = [gpu.name.removeprefix("/device:") for gpu in gpus]
        return max(tf.config.experimental.get_memory_info(name)["peak"] for name in names) / 1e9
    if sys.platform == "linux":  # its ru_maxrss begins at the peak of the process that started this
        with open("/proc/self/status") as status:
            (kilobytes,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
