"""The official TF1 program's numbers for upfirdn2d, the resampling wrappers and bias_act."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parents[2] / "golden"


@cache
def _load() -> tuple[list[dict], dict]:
    cases = json.loads((FOLDER / "resampling_ops.json").read_text())["cases"]
    with np.load(FOLDER / "resampling_ops.npz") as file:
        return cases, dict(file)


def cases(*operations: str) -> list[dict]:
    """The cases of the given operations."""
    return [case for case in _load()[0] if case["op"] in operations]


def array(case: dict, name: str) -> np.ndarray:
    """The array `name` (such as "in/x") of a case."""
    return _load()[1][f"{case['id']}/{name}"]


def channels_last(case: dict, name: str) -> tf.Tensor:
    """An image array of a case as NHWC, whatever layout it is stored in."""
    value = array(case, name)
    return tf.constant(value.transpose(0, 2, 3, 1) if is_channels_first(case) else value)


def is_channels_first(case: dict) -> bool:
    """Whether the images of a case are stored as NCHW."""
    return case["params"].get("data_format") == "NCHW"


def assert_close(actual: tf.Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Absolute error below tolerance times max(1, largest expected magnitude)."""
    expected = np.asarray(expected)
    assert tuple(actual.shape) == expected.shape
    allowed = tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=allowed)
