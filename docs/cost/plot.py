"""Draws docs/cost/*.png and prints the tables of docs/cost.md (needs matplotlib).

plot.py sweeps FILE.json ...         from files that bench.py --sweep --json wrote
plot.py losses RUN ...               up to three runs
"""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent
SETTINGS = ("resolution", "components", "batch")
LOSSES = ("loss/generator", "loss/discriminator", "loss/regularizer", "score/real", "score/fake")


def short(name: str) -> str:
    """Return the last part of a configuration's name that tells it from the others."""
    return Path(name).stem.removeprefix("cartoonset64-").removesuffix("-cpu")


def read_points(path: str) -> tuple[str, dict[int, dict[str, tuple[float, float]]]]:
    """Return the setting and, by its value and configuration, (seconds per minibatch, GB)."""
    reports = json.loads(Path(path).read_text())
    setting = next(iter(reports[0]))
    points = {}
    for report in reports:
        seconds = report["batch"] / report["train"]["img_per_sec"]
        point = points.setdefault(report[setting], {})
        point[short(report["config"])] = (seconds, report["peak_memory_gb"])
    return setting, points


def print_table(setting: str, points) -> None:
    """Print seconds, what each takes more than the first configuration, and memory."""
    first, *others = next(iter(points.values()))
    more = [f"{name} more" for name in others]
    heads = [setting, *(f"{n}, s" for n in (first, *others)), *more, "ratios", "peak GB"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for value, point in points.items():
        base = point[first][0]
        cells = [f"{point[n][0]:.3f}" for n in (first, *others)]
        cells += [f"{point[n][0] - base:.3f}" for n in others]
        cells.append(", ".join(f"{point[n][0] / base:.2f}" for n in others))
        cells.append(", ".join(f"{point[n][1]:.2f}" for n in (first, *others)))
        print(f"| {value} | " + " | ".join(cells) + " |")


def draw_sweeps(paths: list[str]) -> None:
    """Draw time, extra time and memory: one row of panels for each file."""
    _, grid = plt.subplots(len(paths), 3, figsize=(12, 3.4 * len(paths)), squeeze=False)
    for row, path in zip(grid, paths, strict=True):
        setting, points = read_points(path)
        print_table(setting, points)
        names = list(next(iter(points.values())))
        square = setting == "resolution"
        x = [value**2 if square else value for value in points]
        for name in names:
            seconds, memory = zip(*(point[name] for point in points.values()), strict=True)
            base = [point[names[0]][0] for point in points.values()]
            row[0].plot(x, seconds, "o-", label=name)
            row[2].plot(x, memory, "o-", label=name)
            if name != names[0]:
                extra = [a - b for a, b in zip(seconds, base, strict=True)]
                row[1].plot(x, extra, "o-", label=f"{name} - {names[0]}")
        titles = ("seconds per minibatch", "attention: seconds more", "peak memory, GB")
        for axes, title in zip(row, titles, strict=True):
            axes.set(xlabel="pixels" if square else setting, title=title)
            axes.set_ylim(bottom=0)
            axes.legend()
    plt.tight_layout()
    plt.savefig(HERE / "sweeps.png", dpi=80)


def draw_losses(runs: list[str]) -> None:
    """Draw the losses of runs as far as all went, and print their means over the second half."""
    ticks = {Path(run).name: read_ticks(Path(run)) for run in runs}
    end = min(ticks_of_one[-1]["kimg"] for ticks_of_one in ticks.values())
    _, row = plt.subplots(1, len(LOSSES), figsize=(15, 3))
    for axes, loss in zip(row, LOSSES, strict=True):
        means = []
        for (name, ticks_of_one), style in zip(ticks.items(), ("-", "--", ":"), strict=False):
            known = [(t["kimg"], t[loss]) for t in ticks_of_one if loss in t and t["kimg"] <= end]
            axes.plot(*zip(*known, strict=True), style, label=name)
            means.append(np.mean([value for kimg, value in known if kimg > end / 2]))
        axes.set(title=loss, xlabel="kimg")
        print(f"| {loss} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    row[0].legend()
    plt.tight_layout()
    plt.savefig(HERE / "losses.png", dpi=80)


def read_ticks(run: Path) -> list[dict]:
    """Return the statistics of a run but for its first minibatch."""
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()][1:]


if __name__ == "__main__":
    {"sweeps": draw_sweeps, "losses": draw_losses}[sys.argv[1]](sys.argv[2:])
