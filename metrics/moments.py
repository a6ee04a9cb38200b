"""Mean and covariance of features that come batch by batch, in float64."""

import numpy as np


class FeatureStatistics:
    """Mean and covariance (divided by N - 1) of all rows given to `update`; memory is O(D^2).

    Batches are merged by Chan, Golub and LeVeque's formula ("Updating formulae and a pairwise
    algorithm for computing sample variances", 1979), so nothing cancels however far the mean is
    from 0. The result does not depend on how rows are cut into batches beyond rounding.
    """

    def __init__(self, dimension: int):
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros([dimension, dimension])  # sum of (x - mean)(x - mean)^T

    def update(self, features: np.ndarray) -> None:
        """Take in rows [B, D]."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features {features.shape} are not [B, {len(self.mean)}]")
        if not len(features):
            return
        if not np.isfinite(features).all():
            raise ValueError("features are not finite; is the generator's output nan?")
        batch_mean = features.mean(axis=0)
        centred = features - batch_mean
        shift = batch_mean - self.mean
        total = self.count + len(features)
        self._scatter += centred.T @ centred
        self._scatter += np.outer(shift, shift * (self.count * len(features) / total))
        self.mean += shift * (len(features) / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """Sample covariance [D, D]."""
        if self.count < 2:
            raise ValueError(f"a covariance needs two rows or more, not {self.count}")
        return self._scatter / (self.count - 1)
