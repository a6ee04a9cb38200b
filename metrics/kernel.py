"""Kernel distance, KID (Binkowski et al. 2018, "Demystifying MMD GANs", section 4)."""

import numpy as np


def kernel_distance(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3.

    real: [N, D], fake: [M, D]. Returns mean and std over `subsets` random subsets of `subset_size`
    rows of each, or fewer: see `choose_subset_size`. Can be slightly negative: its expectation is
    0 for equal distributions.
    """
    real, fake = np.asarray(real), np.asarray(fake)
    smaller = min(len(real), len(fake))
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or smaller < 3:
        raise ValueError(f"expected [N, D] and [M, D], N and M > 2; {real.shape}, {fake.shape}")
    size = choose_subset_size(smaller, subset_size)
    random = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x = real[random.choice(len(real), size, replace=False)]
        y = fake[random.choice(len(fake), size, replace=False)]
        values.append(_squared_discrepancy(x.astype(np.float64), y.astype(np.float64)))
    return float(np.mean(values)), float(np.std(values))


def choose_subset_size(count: int, wanted: int = 1000) -> int:
    """Return how many of `count` rows a subset has: `wanted`, but 2 to a quarter of them.

    Subsets that share most of their rows differ less than independent ones would: their spread is
    too small by a factor of about the root of 1 - size / count, and 0 for subsets of all rows.
    """
    return max(2, min(wanted, count // 4))


def _squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate from equally many rows of both; pairs of a row with itself do not count."""
    pairs = len(x) * (len(x) - 1)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)  # [S, S] each
    within = (xx.sum() - np.trace(xx)) + (yy.sum() - np.trace(yy))
    return within / pairs - 2 * xy.mean()


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
