"""Precision, recall, density, coverage against brute force and the official program's values."""

import resource

import numpy as np
import pytest

from metrics import density_coverage, neighbours, precision_recall
from tests.golden_files import load


def brute_force(real, fake, k):
    """All four numbers from complete distance tables of differences, in float64."""
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    table = lambda a, b: np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))  # noqa: E731
    real_radii = np.sort(table(real, real), axis=1)[:, k]  # [:, 0] is itself
    fake_radii = np.sort(table(fake, fake), axis=1)[:, k]
    pairs = table(fake, real)
    in_real, in_fake = pairs <= real_radii[None], pairs <= fake_radii[:, None]
    return (
        in_real.any(axis=1).mean(),
        in_fake.any(axis=0).mean(),
        in_real.sum() / (k * len(fake)),
        in_real.any(axis=0).mean(),
    )


def test_official_values():
    description, arrays = load("data/metrics")
    precision, recall = precision_recall(arrays["features/real"], arrays["features/fake"], k=3)
    exact = description["values"]["pr_exact_float64"]
    assert (precision, recall) == (exact["precision"], exact["recall"])


@pytest.mark.parametrize("block", [2048, 64, 7])
@pytest.mark.parametrize("offset", [0, 1000])
def test_brute_force(block, offset, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    random = np.random.default_rng(block)
    real = (random.normal(size=[150, 5]) + offset).astype(np.float32)
    fake = (0.8 * random.normal(size=[130, 5]) + 0.5 + offset).astype(np.float32)
    for k in (1, 3, 5):
        found = *precision_recall(real, fake, k=k), *density_coverage(real, fake, k=k)
        assert found == pytest.approx(brute_force(real, fake, k), abs=1e-12)


def test_known_geometry():
    line = np.arange(10.0)[:, None]  # radius 1 for k = 1
    assert precision_recall(line, line, k=1) == (1, 1)
    assert precision_recall(line, line + 100, k=1) == (0, 0)
    fake = np.array([[0.5], [1.5], [50.0], [51.0]])
    # Two of four fakes are near reals; their own balls (radius 1) hold the reals 0, 1 and 2.
    assert precision_recall(line, fake, k=1) == (0.5, 0.3)
    # 0.5 and 1.5 lie in 2 balls each, of the reals 0, 1 and 2: density 4 / 4.
    assert density_coverage(line, fake, k=1) == (1.0, 0.3)


def test_copies_count_as_inside():
    random = np.random.default_rng(0)
    copies = np.repeat(random.normal(size=[20, 300]).astype(np.float32), 5, axis=0)  # radius 0
    assert precision_recall(copies, copies[::-1], k=3) == (1, 1)
    assert precision_recall(copies, copies + 1e-3, k=3) == (0, 0)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_does_not_tear_copies_apart(seed, monkeypatch):
    """In float64 products are rounded, differently in different blocks."""
    monkeypatch.setattr(neighbours, "BLOCK", 37)
    random = np.random.default_rng(seed)
    copies = np.repeat(random.normal(size=[41, 301]) * 30, 4, axis=0)
    shuffled = copies[random.permutation(len(copies))]
    assert precision_recall(copies, shuffled, k=3) == (1, 1)
    assert density_coverage(copies, shuffled, k=3) == (4 / 3, 1)  # each lies in 4 balls of radius 0


def test_small_integers_do_not_wrap_round():
    real = np.array([[0], [10], [250]], np.uint8)
    assert precision_recall(real, real + np.uint8(1), k=1) == (1, 1)
    assert precision_recall(real, real[::-1].copy(), k=1) == (1, 1)


def test_memory_does_not_grow_with_the_pairs():
    """5,000 x 5,000 distances would be 200 MB, several times over, at once."""
    features = np.random.default_rng(0).normal(size=[10000, 4]).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    precision, recall = precision_recall(features[:5000], features[5000:])
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert precision > 0.9 and recall > 0.9 and grown_mb < 300


def test_refuses_too_few_and_unlike_rows():
    with pytest.raises(ValueError, match="need more than 3 rows"):
        precision_recall(np.zeros([3, 2]), np.zeros([9, 2]))
    with pytest.raises(ValueError, match="expected"):
        density_coverage(np.zeros([9, 2]), np.zeros([9, 3]))
