"""Writing files and directories so that a reader never sees half of one."""

import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dnnlib.errors import UserError

# What file systems answer to a call that they lack.
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)


@contextmanager
def atomic_file(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path` that replaces it when the block ends without an error.

    The content is on disk (fsync) before the rename, so after a crash `path` is either the old
    file or the whole new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory that becomes `path` when the block ends without an error.

    An existing `path` is replaced. Files written inside should be closed before the block ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        sync_directory(temporary)
        old = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
        if path.exists():
            os.replace(path, old)  # removing it takes longer, and there must hardly be a gap
        os.replace(temporary, path)
        sync_directory(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(directory: Path, option: str) -> None:
    """Raise UserError, naming the command line's `option`, unless files can be made in a directory.

    It need not exist yet. For asking before the long work, not after it.
    """
    above = Path(directory)
    while not above.exists() and above != above.parent:
        above = above.parent
    problem = None if above.is_dir() else "is a file, not a directory"
    try:
        if problem is None:
            tempfile.TemporaryFile(dir=above).close()
    except OSError as error:
        problem = f"cannot be written ({os.strerror(error.errno)})"
    if problem:
        raise UserError(f"{above} {problem}; choose another {option}")


def remove_leftovers(directory: Path) -> None:
    """Remove temporary files of writers that were killed. Call while no one else writes there."""
    for path in Path(directory).glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Make a rename inside the directory `path` survive a power cut, where the file system can.

    CIFS, many FUSE file systems and some others cannot sync directories, or not even open them.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a directory that can be written but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)


def lock(file: IO, *, wait: bool) -> bool:
    """Keep other processes out until `file` is closed; say whether that is possible here.

    Raises BlockingIOError if another process holds the lock, unless `wait`. File systems without
    locks (Lustre without -o flock, NFS without lockd, some FUSE) are reported in one line, and the
    work goes on.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except BlockingIOError:
        raise
    except OSError:
        pass
    print(
        f"{Path(file.name).parent}: this file system has no locks; do not start a second program "
        "there",
        file=sys.stderr,
    )
    return False
