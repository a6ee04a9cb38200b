"""Comparing the states of two runs that should differ by rounding only."""

from collections.abc import Mapping

import numpy as np

NOISE = ("bias_key", "bias_to_pos")  # their gradients vanish but for rounding


def assert_same_weights(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> None:
    """Each network variable agrees within 1e-5, as a root mean square, and no element is off 1e-4.

    Relative to the variable, if that is larger than 1. Single elements get more: where a gradient
    happens to be next to zero, Adam makes a good part of a step (0.002) of its rounding (see also
    "How to compare" in the golden files' README, which allows 1e-4 too).
    """
    assert sorted(one) == sorted(two)
    for name in one:
        if not name.startswith(("G/", "D/", "Gs/")) or not one[name].size or name.endswith(NOISE):
            continue
        difference = np.abs(one[name] - two[name])
        size = max(1.0, float(np.abs(one[name]).max()))
        assert np.sqrt(np.mean(difference**2)) < 1e-5 * size, name
        assert difference.max() < 1e-4 * size, name
