"""Draws the curve of a metric from evaluate.py's results (needs matplotlib).

python docs/cartoonset/plot_metrics.py metrics.jsonl NAME OUT.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

results, name, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
entries = [json.loads(line) for line in results.read_text().splitlines()]
points = sorted((entry["kimg"], entry["metrics"][name]) for entry in entries)
figure, axis = plt.subplots(figsize=(6, 3.2))
axis.plot(*zip(*points, strict=True), marker="o")
axis.set(xlabel="kimg", ylabel=name, ylim=(0, None))
axis.grid(alpha=0.3)
figure.tight_layout()
figure.savefig(out, dpi=80)
