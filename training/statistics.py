"""Statistics of a run: collected over a tick, printed, appended to stats.jsonl and TensorBoard."""

import json
import resource
from pathlib import Path
from typing import Any

import tensorflow as tf

from dnnlib.progress import format_duration


class TickMeans:
    """Means of scalars over one tick; the tensors are not waited for until they are needed."""

    def __init__(self, sums: dict[str, list[float]] | None = None):
        self.sums = sums or {}  # name -> [sum, count]
        self.pending: list[dict[str, tf.Tensor]] = []

    def add(self, statistics: list[dict[str, tf.Tensor]]) -> None:
        """Take in the statistics of one minibatch."""
        self.pending += statistics

    def state(self) -> dict[str, list[float]]:
        """Return what has been collected so far, as plain numbers."""
        for statistics in self.pending:
            for name, value in statistics.items():
                total = self.sums.setdefault(name, [0.0, 0])
                total[0] += float(value)
                total[1] += 1
        self.pending = []
        return self.sums

    def finish(self) -> dict[str, float]:
        """Return the means, and begin again."""
        means = {name: total / count for name, (total, count) in self.state().items()}
        self.sums = {}
        return means


class StatisticsLog:
    """Writes one object for each tick. Ticks that the file already has (from before a resume) are
    not written again: there are no gaps and no doubles."""

    def __init__(self, run: Path):
        self.path = run / "stats.jsonl"
        self.last_images = _last_images(self.path)
        self.writer = tf.summary.create_file_writer(str(run / "tensorboard"))

    def write(self, entry: dict[str, Any]) -> None:
        """Append one tick; `nimg` says how far the run is."""
        if entry["nimg"] <= self.last_images:
            return
        self.last_images = entry["nimg"]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        scalars = {name: value for name, value in entry.items() if "/" in name}
        self.write_scalars("", scalars, entry["nimg"])

    def write_scalars(self, prefix: str, values: dict[str, float], images_shown: int) -> None:
        """Show numbers in TensorBoard, under `prefix`/ their names."""
        with self.writer.as_default(step=images_shown):
            for name, value in values.items():
                tf.summary.scalar(f"{prefix}/{name}" if prefix else name, value)
        self.writer.flush()

    def write_image(self, name: str, image, images_shown: int) -> None:
        """Show an image uint8 [H, W, C] in TensorBoard."""
        with self.writer.as_default(step=images_shown):
            tf.summary.image(name, image[None])
        self.writer.flush()


def _last_images(path: Path) -> int:
    """Return `nimg` of the last whole line; cut off a line that was written only in part."""
    if not path.is_file():
        return -1
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:  # killed in the middle of a line
        path.write_bytes(b"\n".join([*lines[:-1], b""]))
    whole = [line for line in lines[:-1] if line]
    return json.loads(whole[-1])["nimg"] if whole else -1


def format_tick(entry: dict[str, Any], total_kimg: float) -> str:
    """Return the line that is printed for a tick, in fixed widths."""
    left_s = max(total_kimg - entry["kimg"], 0) * entry["timing/sec_per_kimg"]
    path_length = f"  pl {entry['path_length']:6.3f}" if "path_length" in entry else ""
    return (
        f"tick {entry['tick']:<5d} kimg {entry['kimg']:<9.2f}"
        f" {entry['timing/img_per_sec']:6.1f} img/s {entry['timing/sec_per_kimg']:7.1f} sec/kimg"
        f"  left {format_duration(left_s):>8s}"
        f"  loss G {entry.get('loss/generator', float('nan')):6.3f}"
        f" D {entry.get('loss/discriminator', float('nan')):6.3f}"
        f" reg {entry.get('loss/regularizer', float('nan')):7.4f}{path_length}"
        f"  mem {entry['resources/peak_memory_gb']:4.1f} GB"
    )


def peak_memory_gb() -> float:
    """Return the most memory that this process ever had, in GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
