"""Checkpoints: the whole state of a run, written atomically and verified when read."""

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.manifest import file_digest
from dnnlib.errors import UserError
from dnnlib.files import atomic_directory

if TYPE_CHECKING:  # without TensorFlow, for `train.py --status`
    from training.state import TrainState

# Variables that a checkpoint may have or lack. Early ones hold the optimisers' accumulators, which
# are zero between minibatches; augmentation and precision can change in the middle of a run.
OPTIONAL = re.compile(
    r"(generator|discriminator)_optimizer/(main|regularizer|loss_scale)/|augmentation/"
)


def save_checkpoint(run: Path, values: dict[str, np.ndarray], progress: dict[str, Any]) -> Path:
    """Write checkpoints/<images shown> of a run.

    values: of TrainState. progress: what the loop remembers besides the state, as JSON.
    """
    shown = int(values["images_shown"])
    directory = run / "checkpoints" / f"{shown:010d}"
    require_space(run, sum(array.nbytes for array in values.values()), "a checkpoint")
    with atomic_directory(directory) as temporary:
        np.savez(temporary / "state.npz", **values)
        digest = file_digest(temporary / "state.npz")
        text = json.dumps({"images_shown": shown, "sha256": digest, "progress": progress}, indent=2)
        (temporary / "checkpoint.json").write_text(text + "\n")
    return directory


def require_space(run: Path, size: int, what: str) -> None:
    """Raise UserError if the disk of a run has too little room for `size` bytes and a bit more."""
    free, needed = shutil.disk_usage(run).free, size * 1.05 + 1e6
    if free < needed:
        raise UserError(
            f"the disk of {run} has {free / 1e6:.1f} MB left, {what} needs {needed / 1e6:.1f} MB; "
            "free some space and run the same command again: it continues from the last checkpoint"
        )


def list_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    directories = (run / "checkpoints").glob("*")
    return sorted(path for path in directories if re.fullmatch(r"\d{10}", path.name))


def newest_checkpoint(run: Path, report=print) -> Path | None:
    """Return the newest undamaged checkpoint of a run, or None if it has no checkpoint.

    Reports damaged ones. Raises UserError if all are damaged.
    """
    checkpoints = list_checkpoints(run)
    for path in reversed(checkpoints):
        problem = find_damage(path)
        if problem is None:
            return path
        report(f"warning: checkpoint {path} is damaged ({problem}); trying the one before it")
    if checkpoints:
        raise UserError(f"all checkpoints of {run} are damaged; start again in another --run")
    return None


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None."""
    try:
        expected = json.loads((path / "checkpoint.json").read_text())["sha256"]
        return None if file_digest(path / "state.npz") == expected else "its checksum is wrong"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError):
        return "checkpoint.json is unreadable"


def load_checkpoint(path: Path, state: "TrainState") -> dict[str, Any]:
    """Restore the whole state, and return the loop's `progress`.

    Raises UserError if the checkpoint belongs to another configuration.
    """
    problem = find_damage(path)
    if problem:
        raise UserError(f"checkpoint {path} cannot be used: {problem}")
    variables = state.by_name()
    with np.load(path / "state.npz", allow_pickle=False) as arrays:
        _check_names(path, set(arrays.files), set(variables))
        for name in sorted(set(variables) & set(arrays.files)):
            array, variable = arrays[name], variables[name]
            if array.shape != tuple(variable.shape):
                raise UserError(
                    f"checkpoint {path}: {name} has shape {list(array.shape)}, this configuration "
                    f"needs {list(variable.shape)}; use the configuration it was made with"
                )
            variable.assign(array)
    return read_progress(path)


def read_progress(path: Path) -> dict[str, Any]:
    """Return the loop's `progress` of a checkpoint without reading its state."""
    return json.loads((path / "checkpoint.json").read_text())["progress"]


def _check_names(path: Path, stored: set[str], needed: set[str]) -> None:
    for name in sorted(stored ^ needed):
        if OPTIONAL.match(name):
            continue
        problem = "is missing" if name in needed else "does not exist in this configuration"
        raise UserError(
            f"checkpoint {path}: {name} {problem}; use the configuration it was made with"
        )
