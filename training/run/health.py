"""Detecting a run whose numbers are no longer finite, and what it writes before it ends."""

import json
import time
from pathlib import Path

import numpy as np
import yaml

from datasets.dataset import Dataset
from dnnlib.config import to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_directory
from dnnlib.json_lines import read_lines
from training.config import RunConfig
from training.run.statistics import TickMeans
from training.step import TrainingStep

PATIENCE = 50  # minibatches in a row with a loss or gradient that is not finite
LAST_TICKS = 20

ADVICE = (
    "continue from the last checkpoint with a lower learning rate or another training.gamma, "
    "such as --set training.generator_lr=0.001 training.discriminator_lr=0.001"
)


def find_bad(values: dict[str, np.ndarray]) -> str | None:
    """Return the name of the first array with an element that is not finite, or None."""
    return next((name for name, array in values.items() if not np.isfinite(array).all()), None)


def find_bad_gradient(step: TrainingStep, dataset: Dataset, names: list[str]) -> str | None:
    """Return the first variable with a bad gradient of the next minibatch, or None.

    names: of the statistics that were not finite; only the phases of these are looked at.
    """
    images, labels = next(iter(step.batches(dataset)))
    for phase in step.phases.values():
        if any(f"norm/{name}" in names for name in phase.optimizers):
            bad = find_bad(step.gradients(phase, images, labels))
            if bad:
                return f"gradient of {bad}"
    return None


def stop_crashed(
    run: Path, config: RunConfig, shown: int, bad: str | None, means: TickMeans
) -> None:
    """Write a crash bundle, and raise the UserError that ends the run.

    bad: the tensor that is not finite, where it is known; else the statistic is named. The
    checkpoints stay as they are.
    """
    bad = bad or (means.bad_names or ["a statistic"])[0]
    report = {
        "nimg": shown,
        "kimg": shown / 1000,
        "minibatch": shown // config.training.batch_size,
        "first_bad_tensor": bad,
        "bad_statistics": means.bad_names,
        "bad_minibatches_in_a_row": means.bad_in_a_row,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "last_statistics": read_lines(run / "stats.jsonl")[-LAST_TICKS:],
    }
    bundle = run / f"crash-{shown // 1000:06d}"
    with atomic_directory(bundle) as temporary:
        (temporary / "crash.json").write_text(json.dumps(report, indent=2) + "\n")
        (temporary / "config.yaml").write_text(yaml.safe_dump(to_mapping(config), sort_keys=False))
    raise UserError(
        f"training broke down at {shown / 1000:.2f} kimg: {bad} is not finite "
        f"({means.bad_in_a_row} minibatches in a row); see {bundle / 'crash.json'}; {ADVICE}"
    )
