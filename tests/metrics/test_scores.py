"""Inception score, kernel distance and path length against slow, plain definitions."""

import itertools

import numpy as np
import pytest

from metrics import inception_score, kernel_distance, perceptual_path_length
from tests.golden_files import load


def test_official_inception_score():
    description, arrays = load("data/metrics")
    mean, std = inception_score(arrays["is/probabilities"], splits=10)
    assert mean == pytest.approx(description["values"]["is"]["_mean"], rel=1e-6)
    assert std == pytest.approx(description["values"]["is"]["_std"], rel=1e-5)


def test_inception_score_closed_forms():
    certain = np.tile(np.eye(7), [10, 1])  # every picture another class, without doubt
    assert inception_score(certain, splits=10) == pytest.approx((7, 0), abs=1e-9)
    assert inception_score(np.full([20, 4], 0.25), splits=2) == pytest.approx((1, 0), abs=1e-12)
    same = np.tile(np.eye(7)[2], [10, 1])
    assert inception_score(same, splits=1) == pytest.approx((1, 0), abs=1e-12)


def test_inception_score_refuses_what_are_no_distributions():
    with pytest.raises(ValueError, match="distributions"):
        inception_score(np.ones([10, 3]))
    with pytest.raises(ValueError, match="splits"):
        inception_score(np.full([5, 4], 0.25), splits=6)


def slow_discrepancy(x, y):
    """Unbiased MMD^2 with double loops over pairs (Gretton et al. 2012, Eq. 3)."""
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    yy = sum(kernel(y[i], y[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    xy = sum(kernel(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


def test_kernel_distance_of_all_rows_is_the_slow_one():
    random = np.random.default_rng(0)
    x, y = random.normal(size=[12, 6]), random.normal(size=[12, 6]) + 0.5
    mean, std = kernel_distance(x, y, subsets=3)
    assert mean == pytest.approx(slow_discrepancy(x, y), rel=1e-10)
    assert std == pytest.approx(0, abs=1e-10)  # the subsets are all the same set


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


def test_path_length_leaves_out_the_extremes():
    distances = np.random.default_rng(3).normal(size=200) ** 2
    kept = np.sort(distances)
    for discard, part in ((0, kept), (0.01, kept[1:199]), (0.1, kept[19:181])):
        value = perceptual_path_length(distances, epsilon=1e-3, discard=discard)
        assert value == pytest.approx(part.mean() * 1e6, rel=1e-9)
    with pytest.raises(ValueError, match="expected distances"):
        perceptual_path_length(distances[None])
