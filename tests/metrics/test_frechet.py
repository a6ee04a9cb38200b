"""Statistics, Frechet distance: closed forms, SciPy's sqrtm, the official program's value."""

import numpy as np
import pytest
import scipy.linalg

from metrics import frechet_distance
from metrics.frechet import covariance_rank
from metrics.moments import ROWS_AT_ONCE, FeatureStatistics
from tests.golden_files import load


def random_covariance(random, size, rows=None):
    return np.cov(
        random.normal(size=[rows or 3 * size, size]) @ random.normal(size=[size, size]).T,
        rowvar=False,
    )


def collect(features, cuts):
    statistics = FeatureStatistics(features.shape[1])
    for batch in np.split(features, cuts):
        statistics.update(batch)
    return statistics


def test_official_value():
    description, arrays = load("data/metrics")
    real = collect(arrays["features/real"], [7, 8, 150])
    fake = collect(arrays["features/fake"], [64, 128])
    np.testing.assert_allclose(real.mean, arrays["fid/mu_real"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fake.covariance, arrays["fid/sigma_fake"], rtol=1e-5, atol=1e-7)
    distance = frechet_distance(real.mean, real.covariance, fake.mean, fake.covariance)
    assert distance == pytest.approx(description["values"]["fid"], rel=1e-6)


def test_statistics_are_numpys_for_any_batches_and_far_from_zero():
    rows = 2 * ROWS_AT_ONCE + 101
    features = np.random.default_rng(0).normal(size=[rows, 5]) * [1, 2, 3, 4, 1e-3] + 1e6
    for cuts in ([], [0, 1, 1, 50], [ROWS_AT_ONCE + 1], range(1, rows)):
        statistics = collect(features, cuts)
        assert statistics.count == rows
        np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(
            statistics.covariance, np.cov(features, rowvar=False), rtol=1e-6, atol=1e-9
        )


def test_statistics_refuse_what_means_nothing():
    statistics = FeatureStatistics(3)
    with pytest.raises(ValueError, match="finite"):
        statistics.update([[0, np.nan, 1]])
    with pytest.raises(ValueError, match=r"\[B, 3\]"):
        statistics.update(np.zeros([2, 4]))
    statistics.update(np.zeros([1, 3]))
    with pytest.raises(ValueError, match="two rows"):
        _ = statistics.covariance


@pytest.mark.parametrize("size", [1, 2, 64, 300])
def test_scipy(size):
    random = np.random.default_rng(size)
    mu1, mu2 = random.normal(size=[2, size])
    sigma1, sigma2 = random_covariance(random, size), random_covariance(random, size)
    root = scipy.linalg.sqrtm(np.atleast_2d(sigma1) @ np.atleast_2d(sigma2))
    expected = ((mu1 - mu2) ** 2).sum() + np.trace(
        np.atleast_2d(sigma1 + sigma2) - 2 * np.real(root)
    )
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected, rel=1e-8)


def test_closed_forms():
    mean, identity = np.arange(4.0), np.eye(4)
    assert frechet_distance(mean, identity, mean, identity) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(mean, identity, mean + 3, identity) == pytest.approx(36, rel=1e-12)
    # Commuting covariances: sum of (root difference)^2.
    first, second = np.diag([1.0, 4, 9, 16]), np.diag([4.0, 4, 1, 0])
    assert frechet_distance(mean, first, mean, second) == pytest.approx(1 + 0 + 4 + 16, rel=1e-12)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=[4, 4]))[0]
    turned = [rotation @ sigma @ rotation.T for sigma in (first, second)]
    assert frechet_distance(mean, turned[0], mean, turned[1]) == pytest.approx(21, rel=1e-10)


def test_rank_deficient_covariances_give_finite_exact_distances():
    random = np.random.default_rng(0)
    few = random_covariance(random, 200, rows=20)
    zero = np.zeros(200)
    assert covariance_rank(few) == 19
    assert covariance_rank(np.eye(5)) == 5
    assert frechet_distance(zero, few, zero, few) < 1e-9 * np.trace(few)
    assert frechet_distance(zero, few, zero, 0 * few) == pytest.approx(np.trace(few), rel=1e-12)
    assert frechet_distance(zero, few, zero, 4 * few) == pytest.approx(np.trace(few), rel=1e-9)


def test_symmetric_and_of_quadratic_scale():
    random = np.random.default_rng(1)
    sigma1, sigma2 = random_covariance(random, 10), random_covariance(random, 10)
    mu1, mu2 = random.normal(size=[2, 10])
    distance = frechet_distance(mu1, sigma1, mu2, sigma2)
    assert frechet_distance(mu2, sigma2, mu1, sigma1) == pytest.approx(distance, rel=1e-12)
    scaled = frechet_distance(3 * mu1, 9 * sigma1, 3 * mu2, 9 * sigma2)
    assert scaled == pytest.approx(9 * distance, rel=1e-10)


def test_refuses_wrong_shapes_and_what_is_no_covariance():
    with pytest.raises(ValueError, match="expected"):
        frechet_distance(np.zeros(3), np.eye(3), np.zeros(4), np.eye(4))
    with pytest.raises(ValueError, match="finite"):
        frechet_distance([0], [[np.nan]], [0], [[1]])
    with pytest.raises(ValueError, match="not a covariance"):
        frechet_distance(np.zeros(2), np.diag([1.0, -1.0]), np.zeros(2), np.eye(2))
