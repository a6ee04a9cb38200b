"""Checkpoints: the whole state of a run, written atomically and verified when read."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from datasets.manifest import file_digest
from dnnlib.errors import UserError
from dnnlib.files import atomic_directory
from training.state import TrainState

# Early checkpoints hold them; between minibatches they are zero.
OLD_ACCUMULATORS = re.compile(r"(generator|discriminator)_optimizer/(main|regularizer)/")


def save_checkpoint(run: Path, state: TrainState, progress: dict[str, Any], *, keep: int) -> Path:
    """Write checkpoints/<images shown> of a run, and remove all but the newest `keep`.

    progress: what the loop remembers besides the state, as JSON.
    """
    shown = int(state.images_shown.numpy())
    directory = run / "checkpoints" / f"{shown:010d}"
    with atomic_directory(directory) as temporary:
        np.savez(temporary / "state.npz", **state.values())
        digest = file_digest(temporary / "state.npz")
        text = json.dumps({"images_shown": shown, "sha256": digest, "progress": progress}, indent=2)
        (temporary / "checkpoint.json").write_text(text + "\n")
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return directory


def list_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    directories = (run / "checkpoints").glob("*")
    return sorted(path for path in directories if re.fullmatch(r"\d{10}", path.name))


def newest_checkpoint(run: Path, report=print) -> Path | None:
    """Return the newest whole checkpoint of a run, or None if it has none at all.

    A damaged one is named, and the one before it taken. Raises UserError if all are damaged.
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


def load_checkpoint(path: Path, state: TrainState) -> dict[str, Any]:
    """Restore the whole state, and return the loop's `progress`.

    Raises UserError if the checkpoint belongs to another configuration.
    """
    problem = find_damage(path)
    if problem:
        raise UserError(f"checkpoint {path} cannot be used: {problem}")
    variables = state.by_name()
    with np.load(path / "state.npz", allow_pickle=False) as arrays:
        stored = {name for name in arrays.files if not OLD_ACCUMULATORS.match(name)}
        _check_names(path, stored, set(variables))
        for name, variable in variables.items():
            array = arrays[name]
            if array.shape != tuple(variable.shape):
                raise UserError(
                    f"checkpoint {path}: {name} has shape {list(array.shape)}, this configuration "
                    f"needs {list(variable.shape)}; use the configuration it was made with"
                )
            variable.assign(array)
    return json.loads((path / "checkpoint.json").read_text())["progress"]


def _check_names(path: Path, stored: set[str], needed: set[str]) -> None:
    for name in sorted(stored ^ needed):
        problem = "is not in it" if name in needed else "has no place in this configuration"
        raise UserError(
            f"checkpoint {path}: {name} {problem}; use the configuration it was made with"
        )
