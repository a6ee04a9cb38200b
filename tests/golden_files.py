"""Numbers made by the official program: all of them where they are at hand, else our selection."""

import json
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
COMPLETE = ROOT.parent / "shared" / "golden"
GOLDEN = COMPLETE if COMPLETE.is_dir() else ROOT / "tests" / "golden"


def load(name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the settings (json) and the arrays (npz) of a golden file."""
    settings = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return settings, dict(arrays)


def network_names(prefix: str) -> list[str]:
    """Return the names of the golden network files that begin with `prefix`."""
    return sorted(path.stem for path in (GOLDEN / "networks").glob(f"{prefix}*.json"))


def relative_error(actual, expected) -> float:
    """Return max |a - b| / max |b|."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{actual.shape} != {expected.shape}"
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30))


def to_nhwc(images: np.ndarray) -> np.ndarray:
    """Return NCHW images as NHWC."""
    return np.transpose(images, [0, 2, 3, 1])


def assign(module, values: dict[str, np.ndarray], prefix: str = "") -> None:
    """Give a network the variables stored under `prefix`; the two sets must be the same."""
    from gansformer.variables import variables_by_name

    stored = {
        name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)
    }
    variables = variables_by_name(module)
    assert sorted(variables) == sorted(stored)
    for name, variable in variables.items():
        variable.assign(stored[name])
