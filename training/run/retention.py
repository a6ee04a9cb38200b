"""Which checkpoints and snapshots of a run are kept."""

import shutil
from pathlib import Path

from gansformer.snapshot import list_snapshots
from training.config import OutputConfig
from training.run.checkpoint import list_checkpoints


def remove_old_checkpoints(
    run: Path, output: OutputConfig, *, current: Path, best: int | None
) -> None:
    """Keep the newest, the first after each multiple of an interval, and that of the best metric.

    current: the one just written. Later ones belong to a continuation that was abandoned.
    best: images shown when the metric was best, if there is one.
    """
    checkpoints = [path for path in list_checkpoints(run) if path.name <= current.name]
    kept = set(checkpoints[-output.keep_checkpoints :])
    kept |= {path for path in checkpoints if int(path.name) == best}
    if output.keep_checkpoint_every_kimg > 0:
        milestones: dict[float, Path] = {}
        for path in checkpoints:
            number = int(path.name) // (output.keep_checkpoint_every_kimg * 1000)
            milestones.setdefault(number, path)
        kept |= {path for number, path in milestones.items() if number > 0}
    for path in set(list_checkpoints(run)) - kept:
        shutil.rmtree(path)


def remove_old_snapshots(directory: Path, output: OutputConfig) -> None:
    """Keep the newest `keep_snapshots`, those at multiples of `keep_snapshot_every_kimg`, and those
    at `milestones_kimg`.

    A batch may end after a multiple: it is the first one within 1 kimg of it.
    """
    every = output.keep_snapshot_every_kimg * 1000
    snapshots = list_snapshots(directory)
    kept = set(list(snapshots)[-output.keep_snapshots :])
    if every > 0:
        milestones: dict[float, Path] = {}
        for path, shown in snapshots.items():
            milestones.setdefault(shown // every, path)
        kept |= {path for path in milestones.values() if snapshots[path] % every < 1000}
    kept |= {find_milestone(snapshots, kimg) for kimg in output.milestones_kimg}
    for path in snapshots.keys() - kept:
        shutil.rmtree(path)


def find_milestone(snapshots: dict[Path, int], kimg: float) -> Path | None:
    """Return the first snapshot at or within 1 kimg after `kimg`, None if there is none.

    snapshots: images shown for each, oldest first, see list_snapshots.
    """
    near = (path for path, shown in snapshots.items() if 0 <= shown - kimg * 1000 < 1000)
    return next(near, None)
