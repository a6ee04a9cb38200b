"""Perceptual path length (Karras et al. 2019, "A Style-Based Generator Architecture", 4.1)."""

import numpy as np


def perceptual_path_length(
    first: np.ndarray, second: np.ndarray, *, epsilon: float = 1e-4, discard: float = 0.01
) -> float:
    """Mean of |first - second|^2 / epsilon^2 without the extreme shares on both sides, Eq. 2, 3.

    first, second: [N, D], perceptual embeddings of the pictures at t and t + epsilon of N random
    interpolations. discard: share of the smallest, and of the largest, distances left out.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 2 or not len(first):
        raise ValueError(f"expected two arrays [N, D]; got {first.shape} and {second.shape}")
    distances = ((first - second) ** 2).sum(axis=1) / epsilon**2
    low = np.percentile(distances, 100 * discard, method="lower")
    high = np.percentile(distances, 100 * (1 - discard), method="higher")
    return float(distances[(distances >= low) & (distances <= high)].mean())


def interpolate_spherically(start: np.ndarray, end: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Great-circle interpolation of the directions of z. start, end: [..., D]; t: [...]."""
    start, end = _normalise(start), _normalise(end)
    cosine = (start * end).sum(axis=-1, keepdims=True)
    angle = np.asarray(t)[..., None] * np.arccos(np.clip(cosine, -1, 1))
    sideways = _normalise(end - cosine * start)
    return _normalise(start * np.cos(angle) + sideways * np.sin(angle))


def _normalise(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
