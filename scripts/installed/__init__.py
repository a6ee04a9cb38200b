"""The commands of an installed copy: gansformer-train and the others.

Installed, the programs and what only they use (datasets, training, scripts) lie in this package, so
that no other `datasets` in the same environment, such as Hugging Face's, is overwritten or hidden.
A command puts their folder first on its own path, as every program of the repository does.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path


def __getattr__(name: str) -> Callable[[], None]:
    """Return the entry point of the program `name`."""
    if name.startswith("__"):
        raise AttributeError(name)

    def run() -> None:
        programs = importlib.import_module("gansformer_programs.scripts")
        sys.path.insert(0, str(Path(programs.__file__).resolve().parent.parent))
        importlib.import_module(f"scripts.{name}").entry_point()

    return run
