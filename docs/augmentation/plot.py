"""Plot p, the mean sign, losses and distances: python plot.py OUT.png NAME=RUN=DISTANCES.jsonl ...

DISTANCES: what evaluate.py --out wrote for snapshots of the run.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main(out: str, runs: list[str]) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True)
    for color, run in zip(("C3", "C0", "C2"), runs, strict=False):
        name, directory, distances = run.split("=")
        stats = read(Path(directory) / "stats.jsonl")[1:]
        kimg = [line["kimg"] for line in stats]
        panels = {"loss/discriminator": axes[0, 1], "score/real": axes[1, 0]}
        for key, axis in panels.items():
            axis.plot(kimg, [line[key] for line in stats], color, label=f"{name}, {key}")
        axes[1, 0].plot(kimg, [line["score/fake"] for line in stats], color, ls=":")
        if "augmentation/p" in stats[0]:
            for key, style in (("augmentation/p", "-"), ("augmentation/sign", ":")):
                axes[1, 1].plot(kimg, [line[key] for line in stats], color, ls=style, label=key)
        points = sorted((line["kimg"], line["metrics"]) for line in read(Path(distances)))
        axes[0, 0].plot(
            [kimg for kimg, _ in points],
            [values["fd-efficientnet2k"] for _, values in points],
            color,
            marker="o",
            label=name,
        )
    titles = ("fd-efficientnet2k, held out", "loss of D", "scores: real, fake (dotted)", "ADA")
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
