"""Numbers that say how good generated images are, from features and from images.

The functions here need only NumPy; the feature networks are in `metrics.networks`.
"""

from metrics.frechet import frechet_distance
from metrics.inception_score import inception_score
from metrics.kernel import kernel_distance
from metrics.neighbours import density_coverage, precision_recall
from metrics.path_length import perceptual_path_length
from metrics.sliced_wasserstein import sliced_wasserstein_distance

__all__ = [
    "density_coverage",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "perceptual_path_length",
    "precision_recall",
    "sliced_wasserstein_distance",
]
