"""Plot scores, loss, p and distances of runs: python docs/augmentation/plot.py OUT.png RUN ...

Distances are those of RUN/metrics.jsonl, which evaluate.py writes.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

METRIC = "fd-efficientnet2k"


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(out: str, runs: list[str]) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True)
    for color, run in zip(("C3", "C0", "C2"), map(Path, runs), strict=False):
        stats = read(run / "stats.jsonl")[1:]
        kimg = [line["kimg"] for line in stats]
        for key, axis in (("loss/discriminator", axes[0, 1]), ("score/real", axes[1, 0])):
            axis.plot(kimg, [line[key] for line in stats], color, label=run.name)
        axes[1, 0].plot(kimg, [line["score/fake"] for line in stats], color, ls=":")
        if "augmentation/p" in stats[0]:
            for key, style in (("augmentation/p", "-"), ("augmentation/sign", ":")):
                axes[1, 1].plot(kimg, [line[key] for line in stats], color, ls=style, label=key)
        points = sorted(
            (line["kimg"], line["metrics"][METRIC]) for line in read(run / "metrics.jsonl")
        )
        axes[0, 0].plot(*zip(*points, strict=True), color, marker="o", label=run.name)
    titles = (f"{METRIC}, held out", "loss of D", "scores: real, fake (dotted)", "ADA")
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[0, 0].set_yscale("log")
    for axis in axes[1]:
        axis.set_xlabel("kimg")
    figure.tight_layout()
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
