"""The directory of a run: made, checked, or found again."""

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import yaml

from dnnlib.config import from_mapping, to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from training.checkpoint import list_checkpoints, newest_checkpoint
from training.config import RunConfig, read_yaml


def prepare_run(run: Path, config: RunConfig, resume: str, report) -> Path | None:
    """Make the run directory ready and return the checkpoint to continue from, or None.

    resume: "auto" (continue if there is something to continue), "never", or the path of a
    checkpoint or of another run. Raises UserError rather than overwrite another run.
    """
    _make_writable(run)
    checkpoint = _find_checkpoint(run, resume, report)
    config_path = run / "config.yaml"
    if checkpoint is None and resume == "never" and config_path.exists():
        raise UserError(f"{run} holds a run already; choose another --run, or use --resume auto")
    if config_path.exists():
        _compare(from_mapping(RunConfig, read_yaml(config_path)), config, run, report)
    with atomic_file(config_path, "w") as file:
        yaml.safe_dump(to_mapping(config), file, sort_keys=False)
    return checkpoint


def _make_writable(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        with atomic_file(run / ".writable"):
            pass
        (run / ".writable").unlink()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise UserError(
            f"run directory {run} cannot be written ({os.strerror(error.errno)}); "
            "choose another --run"
        ) from error


def _find_checkpoint(run: Path, resume: str, report) -> Path | None:
    if resume == "never":
        return None
    if resume == "auto":
        return newest_checkpoint(run, report)
    source = Path(resume)
    if (source / "checkpoint.json").is_file():
        return source
    if list_checkpoints(source):
        return newest_checkpoint(source, report)
    raise UserError(
        f"--resume {resume}: neither a checkpoint nor a run with checkpoints; "
        "give such a directory, or auto or never"
    )


def _compare(old: RunConfig, new: RunConfig, run: Path, report) -> None:
    """Report options that differ from the run's; refuse those that make it another network."""
    for section, name, before, now in _differences(to_mapping(old), to_mapping(new)):
        option = f"{section}.{name}"
        if section in ("generator", "discriminator") or option == "data.resolution":
            raise UserError(
                f"{run} was started with {option}={before}, not {now}; "
                "use that, or choose another --run"
            )
        report(f"changed since the run was started: {option} was {before}, is now {now}")


def _differences(old: dict[str, Any], new: dict[str, Any]):
    for section in [field.name for field in dataclasses.fields(RunConfig)]:
        for name in old[section]:
            if old[section][name] != new[section][name]:
                yield section, name, old[section][name], new[section][name]
