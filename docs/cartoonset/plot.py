"""Draws the curves of a run for the documentation (needs matplotlib, which nothing else here does).

python docs/cartoonset/plot.py RUN OUT.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

run, out = Path(sys.argv[1]), sys.argv[2]
ticks = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
panels = {
    "loss": ["loss/generator", "loss/discriminator"],
    "discriminator's score": ["score/real", "score/fake"],
    "R1": ["loss/regularizer"],
    "images per second": ["timing/img_per_sec"],
}
figure, axes = plt.subplots(2, 2, figsize=(9, 5.5), sharex=True)
for axis, (title, names) in zip(axes.flat, panels.items(), strict=True):
    for name in names:
        points = [(tick["kimg"], tick[name]) for tick in ticks[1:] if name in tick]
        axis.plot(*zip(*points, strict=True), label=name.split("/")[-1], linewidth=1)
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    if len(names) > 1:
        axis.legend(fontsize=8)
for axis in axes[1]:
    axis.set_xlabel("kimg")
figure.tight_layout()
figure.savefig(out, dpi=80)
