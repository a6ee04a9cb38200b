"""Metrics from nearest neighbours: improved precision and recall, density and coverage.

Distances are computed block by block, so memory does not grow with the number of pairs. The
official program rounds distances to float16; here they are exact to float64's rounding, and ties
count as inside (duplicates have distance 0 and radius 0).
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 2048  # rows and columns of distances at a time: 32 MB, and as much again a few times
_ROUNDING = 1e-12  # of squared distances, relative to the squared lengths they are made from


def precision_recall(real: np.ndarray, fake: np.ndarray, *, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, Eq. 1).

    real: [N, D], fake: [M, D]. precision: share of fakes inside the ball of any real, whose radius
    is the distance to its k-th neighbour among the other reals; recall: the same, swapped.
    """
    real, fake = _centre(real, fake, k)
    return _share_inside(fake, real, k), _share_inside(real, fake, k)


def density_coverage(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, Eq. 4, 5).

    density: how many reals' balls a fake lies in, divided by k (can exceed 1); coverage: share of
    reals whose ball holds any fake.
    """
    real, fake = _centre(real, fake, k)
    balls, covered = 0, np.zeros(len(real), bool)
    radii = _squared_radii(real, k)
    for _, columns, squares, slack in _blocks(fake, real):
        inside = squares <= radii[columns] + slack  # [fakes, reals]
        balls += int(inside.sum())
        covered[columns] |= inside.any(axis=0)
    return balls / (k * len(fake)), float(covered.mean())


def _centre(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Check both and move their origin to the reals' mean, so that squared lengths are small."""
    kind = np.result_type(np.asarray(real), np.asarray(fake), np.float32)
    real, fake = np.asarray(real, kind), np.asarray(fake, kind)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"expected [N, D] and [M, D]; got {real.shape} and {fake.shape}")
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k = {k} neighbours need more than {k} rows; {len(real)}, {len(fake)}")
    centre = real.mean(axis=0, dtype=np.float64).astype(kind)
    return real - centre, fake - centre


def _share_inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    """Share of points [N, D] that lie in the k-neighbour ball of any of `centres` [M, D]."""
    inside = np.zeros(len(points), bool)
    radii = _squared_radii(centres, k)
    for rows, columns, squares, slack in _blocks(points, centres):
        inside[rows] |= (squares <= radii[columns] + slack).any(axis=1)
    return float(inside.mean())


def _squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [N] of each point to its k-th neighbour other than itself."""
    nearest = np.full([len(points), k], np.inf)
    for rows, columns, squares, _ in _blocks(points, points):
        if rows == columns:
            np.fill_diagonal(squares, np.inf)
        both = np.concatenate([nearest[rows], squares], axis=1)
        nearest[rows] = np.partition(both, k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def _blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Yield (rows, columns, squared distances, their rounding errors), block by block."""
    for first in range(0, len(x), BLOCK):
        rows = slice(first, first + BLOCK)
        left = x[rows].astype(np.float64)
        left_squares = np.einsum("nd,nd->n", left, left)[:, None]
        for start in range(0, len(y), BLOCK):
            columns = slice(start, start + BLOCK)
            right = y[columns].astype(np.float64)
            sums = left_squares + np.einsum("nd,nd->n", right, right)[None, :]
            squares = np.maximum(sums - 2 * (left @ right.T), 0)
            yield rows, columns, squares, _ROUNDING * sums
