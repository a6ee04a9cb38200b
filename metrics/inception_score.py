"""Inception score (Salimans et al. 2016, "Improved Techniques for Training GANs", section 4)."""

import numpy as np


def inception_score(probabilities: np.ndarray, *, splits: int = 10) -> tuple[float, float]:
    """exp(mean KL(p(y|x) || p(y))) over the images of a split: (mean, std) over the splits.

    probabilities: [N, C], each row a distribution. Split i holds rows [i N/splits, (i+1) N/splits),
    two or more: the score of one image is 1, whatever it shows.
    """
    probabilities = np.asarray(probabilities, np.float64)
    count = len(probabilities)
    if probabilities.ndim != 2 or splits < 1 or 2 * splits > count:
        raise ValueError(
            f"probabilities {probabilities.shape} do not divide into {splits} splits of two or more"
        )
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("rows of probabilities must be distributions: not negative, of sum 1")
    scores = []
    for i in range(splits):
        part = probabilities[i * count // splits : (i + 1) * count // splits]
        marginal = part.mean(axis=0, keepdims=True)  # [1, C]
        ratio = np.divide(part, marginal, out=np.ones_like(part), where=part > 0)  # 0 log 0 = 0
        scores.append(np.exp((part * np.log(ratio)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
