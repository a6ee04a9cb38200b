"""Comparing the states of two runs that should differ by rounding only."""

from collections.abc import Mapping

import numpy as np


def assert_same_weights(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> None:
    """Every element of the networks agrees within 1e-5, relative to variables larger than 1."""
    assert sorted(one) == sorted(two)
    for name, value in one.items():
        if name.startswith(("G/", "D/", "Gs/")) and value.size:
            # Adam turns rounding noise of vanishing gradients into whole steps (golden README).
            bound = 0.1 if name.endswith(("bias_key", "bias_to_pos")) else 1e-5
            scale = max(1.0, float(np.abs(value).max()))
            assert np.abs(value - two[name]).max() < bound * scale, name
