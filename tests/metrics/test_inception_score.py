"""Inception score against closed forms and the official program."""

import numpy as np
import pytest

from metrics import inception_score
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
        inception_score(np.ones([20, 3]))
    with pytest.raises(ValueError, match="splits"):
        inception_score(np.full([5, 4], 0.25), splits=6)
    with pytest.raises(ValueError, match="10 splits of two or more"):
        inception_score(np.eye(10))  # would be 1, and is 10 as one split
