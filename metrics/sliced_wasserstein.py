"""Sliced Wasserstein distance of image patches (Karras et al. 2018, "Progressive Growing of GANs",
section 5; Rabin et al. 2011)."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PROJECTIONS = 512
ROWS = 2**16  # at a time
DIRECTIONS = 64  # at a time


def sliced_wasserstein_distance(
    real: np.ndarray, fake: np.ndarray, *, projections: int = PROJECTIONS, seed: int = 0
) -> float:
    """Mean distance of projections of two sets of patches onto random directions.

    real, fake: [N, P, C], N patches of P pixels; of the longer set, the first as many as the other
    has. First each set's channels are brought to mean 0 and standard deviation 1. The distance of
    two projections is the mean absolute difference of their sorted values: the Wasserstein-1
    distance. Dimensionless; the paper's tables have it x 1000.
    """
    if real.ndim != 3 or real.shape[1:] != fake.shape[1:] or not min(len(real), len(fake)):
        raise ValueError(f"expected patches [N, P, C] of one size; got {real.shape}, {fake.shape}")
    number = min(len(real), len(fake))
    sides = [_normalise(side[:number]) for side in (real, fake)]
    directions = np.random.default_rng(seed).standard_normal([projections, *real.shape[1:]])
    directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    directions = directions.reshape(projections, -1).astype(np.float32)
    total = 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, projections, DIRECTIONS):
            ours, theirs = (directions[first : first + DIRECTIONS] @ side.T for side in sides)
            list(pool.map(np.ndarray.sort, [*ours, *theirs]))  # in place, row by row
            total += np.abs(np.subtract(ours, theirs, out=ours), out=ours).mean(axis=1).sum()
    return float(total / projections)


def _normalise(patches: np.ndarray) -> np.ndarray:
    """Bring each channel to mean 0 and standard deviation 1: float32 [N, P * C]."""
    sums = np.zeros([2, patches.shape[2]])
    for start in range(0, len(patches), ROWS):
        part = patches[start : start + ROWS].astype(np.float64)
        sums += [part.sum(axis=(0, 1)), (part**2).sum(axis=(0, 1))]
    mean, square = sums / (len(patches) * patches.shape[1])
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    result = patches.astype(np.float32)
    result -= mean.astype(np.float32)
    result /= np.where(deviation > 1e-6, deviation, 1).astype(np.float32)  # one value: all 0
    return result.reshape(len(patches), -1)
