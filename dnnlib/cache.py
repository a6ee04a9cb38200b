"""Where what is fetched or computed once is kept: one folder for all of it, wherever we run."""

import os
import sys
import tempfile
from pathlib import Path

from dnnlib.errors import UserError

VARIABLE = "GANSFORMER_CACHE"
_said: set[str] = set()


def cache_directory(name: str) -> Path:
    """Return the folder of one kind of things (data, metrics, models, ...); it need not exist yet.

    $GANSFORMER_CACHE/NAME, or ~/.cache/gansformer/NAME. Where there is no home, or it cannot be
    written (containers, batch systems), a folder of this user among the temporary files, which one
    line says. UserError where nothing can be written.
    """
    if wanted := os.environ.get(VARIABLE):
        return Path(os.path.expanduser(wanted)) / name
    home = os.path.expanduser("~")  # "~" where neither HOME nor an entry in passwd is
    if home not in ("~", "/") and is_writable(Path(home) / ".cache" / "gansformer" / name):
        return Path(home) / ".cache" / "gansformer" / name
    try:
        folder = _own_folder(Path(tempfile.gettempdir()) / f"gansformer-{os.getuid()}")
    except OSError as error:
        raise UserError(
            f"no place for files to keep: the home folder ({home}) and the temporary one cannot be "
            f"written; set {VARIABLE} to a folder that can"
        ) from error
    message = f"the home folder ({home}) cannot be written; keeping files in {folder}"
    if message not in _said:
        _said.add(message)
        print(f"{message} (set {VARIABLE} to choose another place)", file=sys.stderr)
    return folder / name


def is_writable(directory: Path) -> bool:
    """Say whether files can be made in a directory, or in the nearest one above that is there."""
    directory = Path(directory)
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    if not directory.is_dir():
        return False
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _own_folder(folder: Path) -> Path:
    """Make a folder that nobody else can write; another user's of that name is not trusted."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not is_writable(folder):
        return Path(tempfile.mkdtemp(prefix="gansformer-"))
    return folder
