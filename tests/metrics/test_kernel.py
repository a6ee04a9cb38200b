"""Kernel distance against its slow, plain definition."""

import itertools

import numpy as np
import pytest

from metrics import kernel_distance


def slow_discrepancy(x, y):
    """Unbiased MMD^2 with double loops over pairs (Gretton et al. 2012, Eq. 3)."""
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    xy = sum(kernel(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


def test_kernel_distance_is_the_slow_one_over_subsets():
    random = np.random.default_rng(0)
    x, y = random.normal(size=[40, 6]), random.normal(size=[48, 6]) + 0.5
    draws = np.random.default_rng(7)
    slow = [
        slow_discrepancy(*(rows[draws.choice(len(rows), 10, replace=False)] for rows in (x, y)))
        for _ in range(3)
    ]
    mean, std = kernel_distance(x, y, subsets=3, seed=7)  # of a quarter of the 40 rows each
    assert mean == pytest.approx(np.mean(slow), rel=1e-10)
    assert std == pytest.approx(np.std(slow), rel=1e-10)


@pytest.mark.parametrize("count", [200, 220, 400])
def test_spread_of_the_kernel_distance_is_that_of_independent_subsets(count):
    """Also where subsets of the wanted size would be the whole set, or nearly."""
    random = np.random.default_rng(2)
    x, y = random.normal(size=[2, count, 8])
    size = min(200, count // 4)
    _, std = kernel_distance(x, y, subsets=400, subset_size=200)
    independent = [
        kernel_distance(*random.normal(size=[2, 4 * size, 8]), subsets=1, subset_size=size)[0]
        for _ in range(400)
    ]
    assert 0.7 < std / np.std(independent) < 1.3


def test_kernel_distance_of_very_few_rows():
    with pytest.raises(ValueError, match="N and M > 2"):
        kernel_distance(np.zeros([2, 4]), np.zeros([9, 4]))
    assert kernel_distance(np.zeros([3, 4]), np.zeros([9, 4])) == (0, 0)


def test_kernel_distance_is_unbiased_reproducible_and_grows_with_the_shift():
    random = np.random.default_rng(1)
    x, y = random.normal(size=[2, 600, 8])
    mean, std = kernel_distance(x, y, subsets=50, subset_size=100)
    assert abs(mean) < std and kernel_distance(x, y, subsets=50, subset_size=100) == (mean, std)
    assert kernel_distance(x, y, subsets=50, subset_size=100, seed=1) != (mean, std)
    shifted = [kernel_distance(x, y + s, subsets=20, subset_size=100)[0] for s in (0, 0.3, 0.6)]
    assert shifted[0] < shifted[1] < shifted[2] and shifted[1] > 10 * abs(mean)


def test_kernel_distance_takes_sets_of_different_sizes():
    random = np.random.default_rng(2)
    mean, _ = kernel_distance(random.normal(size=[40, 3]), random.normal(size=[15, 3]), subsets=5)
    assert np.isfinite(mean)
    with pytest.raises(ValueError, match="expected"):
        kernel_distance(np.zeros([5, 3]), np.zeros([5, 4]))
