"""The configurations that come along, in configs/."""

from pathlib import Path

from dnnlib.errors import MissingFile, suggest

_HERE = Path(__file__).resolve().parent
# In the repository beside this package, installed within it.
CONFIGS = _HERE / "configs" if (_HERE / "configs").is_dir() else _HERE.parent / "configs"


def find_config(name: str | Path) -> Path:
    """Return the path of a configuration file given by path or by name."""
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.yaml"):
        if path.is_file():
            return path
    known = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    hint = suggest(Path(name).stem, known) or f"; there are {', '.join(known)}"
    raise MissingFile(f"configuration {name} does not exist{hint}")
