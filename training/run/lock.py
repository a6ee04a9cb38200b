"""The lock of a run directory: one process at a time trains in it. Without TensorFlow."""

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import atomic_file, lock, remove_leftovers

LOCK = ".lock"
PARTS = ("checkpoints", "snapshots", "samples")


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Make a run directory and keep other processes from training in it.

    The lock belongs to the open file: the kernel gives it back however the process ends, so that
    `is_held` cannot be wrong. Raises UserError if the directory cannot be written or is in use.
    """
    _make_writable(run)
    with open(run / LOCK, "a+", encoding="utf-8") as file:
        if not _lock(file):
            raise UserError(
                f"{run} is being trained by {describe_holder(run)}; "
                "wait for it, or choose another --run"
            )
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": platform.node(), "since": time.time()}, file)
        file.flush()
        for directory in (run, *(run / part for part in PARTS)):
            remove_leftovers(directory)
        yield


def _lock(file) -> bool:
    for attempt in range(10):  # `is_held` holds the lock for an instant
        try:
            lock(file, wait=False)  # where the file system has no locks, one line says so
            return True
        except BlockingIOError:
            time.sleep(0.05 * attempt)
    return False


def is_held(run: Path) -> bool:
    """Return whether a living process trains in this run directory."""
    try:
        with open(run / LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def describe_holder(run: Path) -> str:
    """Return which process trains, or trained last, in a run directory."""
    try:
        holder = json.loads((run / LOCK).read_text())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown process"


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
