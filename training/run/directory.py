"""The directory of a run: its log, its configuration, and where to continue."""

from pathlib import Path

import yaml

from dnnlib.config import flatten, from_mapping, read_yaml, to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from training.config import RunConfig
from training.run.checkpoint import list_checkpoints, newest_checkpoint

# Options that determine which variables there are, beside those of the networks.
SHAPING = ("data.resolution", "data.labels", "training.freeze_discriminator")


class RunLog:
    """Prints lines, and appends them to log.txt once the run directory exists."""

    def __init__(self, run: Path):
        self.path = run / "log.txt"

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        if self.path.parent.is_dir():
            with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")


def find_start(run: Path, config: RunConfig, resume: str, report) -> Path | None:
    """Return the checkpoint to continue from, or None; report options changed since the start.

    resume: "auto" (continue if there is something to continue), "never", or the path of a
    checkpoint or of another run. Raises UserError rather than overwrite another run.
    """
    checkpoint = _find_checkpoint(run, resume, report)
    before = config_of_run(run)
    if checkpoint is None and resume == "never" and before is not None:
        raise UserError(f"{run} holds a run already; choose another --run, or use --resume auto")
    if before is not None:
        _compare(before, config, run, report)
    return checkpoint


def config_of_run(run: Path) -> RunConfig | None:
    """Return the configuration that a run had when it was last started; None: it is new."""
    path = run / "config.yaml"
    return from_mapping(RunConfig, read_yaml(path)) if path.exists() else None


def write_config(run: Path, config: RunConfig) -> None:
    """Write the resolved configuration into the run directory."""
    with atomic_file(run / "config.yaml", "w") as file:
        yaml.safe_dump(to_mapping(config), file, sort_keys=False)


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
    before, now = flatten(to_mapping(old)), flatten(to_mapping(new))
    for option in sorted(before | now):
        if before.get(option) == now.get(option):
            continue
        if option.startswith(("generator.", "discriminator.")) or option in SHAPING:
            raise UserError(
                f"{run} was started with {option}={before.get(option)}, not {now.get(option)}; "
                "use that, or choose another --run"
            )
        report(
            f"changed since the run was started: {option} was {before.get(option)}, "
            f"is now {now.get(option)}"
        )
