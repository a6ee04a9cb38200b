"""Directories of runs as training and measuring leave them, without training."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from dnnlib.config import from_mapping, to_mapping
from training.study.plan import Cell, Study

STUDY = from_mapping(
    Study,
    {
        "title": "A study <for tests>",
        "data": "data/nothing",
        "prepare": "demo",
        "kimg": 100,
        "points": [2, 10, 50, 100],
        "metrics": "fd-efficientnet10k,pr-efficientnet10k3,swd2k",
        "rows": [
            {"name": "stylegan2", "config": "a", "published": 24.77},
            {"name": "simplex", "config": "b", "published": 28.11},
            {"name": "duplex", "config": "c"},
        ],
        "published": {"metric": "FID", "source": "Somebody 2023", "note": "Other images."},
    },
)


def write_run(
    directory: Path,
    study: Study,
    row: str,
    *,
    seed: int = 0,
    kimg: float = 100.0,
    distances: dict[float, float] | None = None,
    attention: bool = False,
    images: np.ndarray | None = None,
) -> Path:
    """Write a run that has come to `kimg`, with the given distances at points.

    images: uint8 [48, H, W, 3] of its grids; plain colours if None.
    """
    (described,) = (other for other in study.rows if other.name == row)
    run = directory / Cell(described, seed).name
    (run / "samples").mkdir(parents=True)
    config = {
        "generator": {"attention": "simplex" if attention else "none"},
        "output": {"grid_columns": 8, "grid_rows": 6, "psi": 0.7, "tick_kimg": seed},
        "training": {"kimg": study.kimg, "gamma": 10.0},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    description = {"study": to_mapping(study), "row": row, "seed": seed, "processor": "2 x Abacus"}
    description["study"]["rows"] = [to_mapping(other) for other in study.rows]
    (run / "study.json").write_text(json.dumps(description))
    (run / "log.txt").write_text(
        "networks: generator 1.20 M, discriminator 1.30 M parameters; attention simplex; "
        "float32; ops native\nbatch 16 as 1 x 16 on 1 device(s) (CPU); 100 kimg in somewhere\n"
    )
    with open(run / "stats.jsonl", "w") as file:
        for shown in np.arange(2, kimg + 1, 2):
            rate = 400.0 if shown == 2 else 36.0 + shown % 4
            tick = {"kimg": float(shown), "timing/sec_per_kimg": rate}
            file.write(json.dumps({**tick, "resources/peak_memory_gb": 1.5}) + "\n")
    with open(run / "metrics.jsonl", "w") as file:
        for point, distance in (distances or {}).items():
            file.write(json.dumps(_record(point, distance)) + "\n")
    tiles = np.full([48, 64, 64, 3], 90, np.uint8) if images is None else images
    height, width = tiles.shape[1:3]
    grid = tiles.reshape(6, 8, height, width, 3).swapaxes(1, 2).reshape(6 * height, 8 * width, 3)
    names = [f"fakes-{int(point):06d}" for point in study.points if point <= kimg]
    for name in ["reals", *names]:
        Image.fromarray(grid).save(run / "samples" / f"{name}.png")
        if attention and name != "reals":
            part = grid[: 4 * height, : 5 * width].repeat(2, axis=0)
            Image.fromarray(part).save(run / "samples" / f"{name}-attention.png")
    return run


def _record(point: float, distance: float) -> dict:
    values = {
        "fd-efficientnet10k": distance,
        "pr-efficientnet10k3_precision": 1 / distance,
        "pr-efficientnet10k3_recall": 0.5 / distance,
        "swd2k": distance / 7,
    }
    return {
        "point": point,
        "kimg": point,
        "network": "Gs",
        "metrics": values,
        "real": {"digest": "d" * 64, "count": 10000, "resolution": 64, "mirror": False},
        "fake": {"digest": "", "count": None, "seed": 0, "psi": 1.0, "noise": "random"},
        "networks": {"efficientnet": "e" * 64},
        "versions": {"tensorflow": "2.21.0"},
    }
