"""Perceptual path length (Karras et al. 2019, "A Style-Based Generator Architecture", 4.1)."""

from typing import NamedTuple

import numpy as np

EPSILON = 1e-4


class LatentPath(NamedTuple):
    """Where paths run: in "z" or "w", seen at their "full" length or at their "end" (t = 0).

    face: look at the part of the images where aligned photographs have the face.
    """

    space: str
    sampling: str
    face: bool


def perceptual_path_length(
    distances: np.ndarray, *, epsilon: float = EPSILON, discard: float = 0.01
) -> float:
    """Mean of distance / epsilon^2 without the extreme shares on both sides, Eq. 2, 3.

    distances: [N], squared perceptual distances of the images at t and t + epsilon of N random
    interpolations. discard: share of the smallest, and of the largest, left out.
    """
    distances = np.asarray(distances, np.float64)
    if distances.ndim != 1 or not len(distances):
        raise ValueError(f"expected distances [N]; got {distances.shape}")
    low = np.percentile(distances, 100 * discard, method="lower")
    high = np.percentile(distances, 100 * (1 - discard), method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean() / epsilon**2)
