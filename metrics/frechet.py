"""Frechet distance between two Gaussians (Heusel et al. 2017, "GANs Trained by a Two Time-Scale
Update Rule Converge to a Local Nash Equilibrium", Eq. 6)."""

import numpy as np


def frechet_distance(
    mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray
) -> float:
    """|mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)), in float64.

    With sigma1 = F1 F1^T and sigma2 = F2 F2^T, the eigenvalues of sigma1 sigma2 are those of the
    symmetric form A A^T, A = F1^T F2, so tr (sigma1 sigma2)^(1/2) is the sum of A's singular
    values: real and finite also for singular covariances, where `scipy.linalg.sqrtm` is not.
    (Squaring A and taking roots of eigenvalues would lose half of the digits.)
    """
    mu1, mu2 = (np.atleast_1d(np.asarray(mu, np.float64)) for mu in (mu1, mu2))
    sigma1, sigma2 = (np.atleast_2d(np.asarray(s, np.float64)) for s in (sigma1, sigma2))
    size = len(mu1)
    if mu1.shape != mu2.shape or not sigma1.shape == sigma2.shape == (size, size):
        shapes = [mu1.shape, sigma1.shape, mu2.shape, sigma2.shape]
        raise ValueError(f"expected [D], [D, D], [D], [D, D]; got {shapes}")
    if not all(np.isfinite(array).all() for array in (mu1, sigma1, mu2, sigma2)):
        raise ValueError("means and covariances must be finite")
    product = _factor(sigma1).T @ _factor(sigma2)
    covariance_mean = np.linalg.svd(product, compute_uv=False).sum()
    difference = mu1 - mu2
    distance = difference @ difference + np.trace(sigma1) + np.trace(sigma2) - 2 * covariance_mean
    return float(max(distance, 0.0))


def covariance_rank(sigma: np.ndarray) -> int:
    """Rank of a covariance: below its size where there were too few images or they vary too
    little, and the Frechet distance is then not to be compared with others."""
    return int(np.linalg.matrix_rank(np.asarray(sigma, np.float64), hermitian=True))


def _factor(sigma: np.ndarray) -> np.ndarray:
    """Return F with sigma = F F^T; eigenvalues that rounding made negative count as 0."""
    sigma = (sigma + sigma.T) / 2
    try:
        return np.linalg.cholesky(sigma)
    except np.linalg.LinAlgError:  # singular
        values, vectors = np.linalg.eigh(sigma)
    if values.min() < -1e-3 * np.abs(values).max():
        raise ValueError(
            f"not a covariance: eigenvalues from {values.min():.3g} to {values.max():.3g}"
        )
    return vectors * np.sqrt(np.maximum(values, 0))
