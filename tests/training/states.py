"""Comparing the states of two runs that should differ by rounding only."""

from collections.abc import Mapping

import numpy as np

# Values of --set. Without them, rounding now and then becomes a visible difference in a single
# element: leaky ReLU's slope jumps at 0, and Adam turns a gradient next to zero into a whole step.
SMOOTH = [
    "generator.activation=swish",
    "discriminator.activation=swish",
    "training.epsilon=0.01",
]


def assert_same_weights(one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray]) -> None:
    """Every element of the networks agrees within 1e-5, relative to variables larger than 1."""
    assert sorted(one) == sorted(two)
    for name, value in one.items():
        if name.startswith(("G/", "D/", "Gs/")) and value.size:
            scale = max(1.0, float(np.abs(value).max()))
            assert np.abs(value - two[name]).max() < 1e-5 * scale, name
