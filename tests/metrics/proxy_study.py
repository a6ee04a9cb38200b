"""What the metrics say about real pictures that were damaged on purpose, with the offline network.

    python -m tests.metrics.proxy_study DATA_DIR [COUNT]

COUNT pictures are compared with as many others, whole and damaged; modes are dropped from all the
others, so that no image is there twice.
The slow test `test_real_pictures.py` does the same with the pictures that come with the project.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import scipy.ndimage

import datasets
from metrics.comparison import Comparison
from metrics.names import parse_metrics

FAMILIES = "fd-efficientnet,kd-efficientnet,pr-efficientnet,dc-efficientnet"


class ArrayOfPictures:
    """Pictures in memory, uint8 [N, H, W, 3]."""

    statistics = None
    preparation: dict = {}

    def __init__(self, name: str, array: np.ndarray):
        self.name = self.digest = name
        self.array, self.count = array, len(array)

    def images(self, count: int) -> Iterator[np.ndarray]:
        """Yield the first `count`."""
        yield from self.array[:count]


def noised(images: np.ndarray, strength: float) -> np.ndarray:
    """Add normal noise of a standard deviation in grey levels."""
    noise = np.random.default_rng(0).normal(size=images.shape) * strength
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, strength: float) -> np.ndarray:
    """Smooth by a Gaussian of a width in pixels."""
    return scipy.ndimage.gaussian_filter(images, (0, strength, strength, 0))


def shifted(images: np.ndarray, strength: float) -> np.ndarray:
    """Make redder and less blue by grey levels."""
    return np.clip(images + np.array([strength, 0, -strength]), 0, 255).astype(np.uint8)


def darkest(images: np.ndarray, dropped: float, count: int) -> np.ndarray:
    """Return `count` pictures of those that are left when the brightest share was dropped."""
    kept = np.argsort(images.mean(axis=(1, 2, 3)))[: round(len(images) * (1 - dropped))]
    return images[np.random.default_rng(0).permutation(kept)[:count]]


DAMAGES: dict[str, tuple[Callable, tuple[float, ...]]] = {
    "noised": (noised, (1, 2, 8)),
    "blurred": (blurred, (0.3, 0.5, 1.0)),
    "shifted": (shifted, (4, 12, 36)),
}
DROPPED = (0.25, 0.5, 0.75)


def study(first: np.ndarray, others: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the metrics of as many of `others`, whole and damaged, against `first`, by damage."""
    second = others[: len(first)]
    comparison = Comparison(cache=False, allow_small=True, report=lambda message: None)
    metrics = parse_metrics(FAMILIES, len(second))
    real = ArrayOfPictures("first", first)
    results = {}

    def measure(name: str, images: np.ndarray) -> None:
        values = comparison.evaluate(metrics, real, ArrayOfPictures(name, images))
        short = {name.replace("-efficientnet", ""): value for name, value in values.items()}
        results[name] = short
        print(name, "  ".join(f"{k} {v:.4f}" for k, v in short.items()), flush=True)

    measure("undamaged", second)
    for name, (damage, strengths) in DAMAGES.items():
        for strength in strengths:
            measure(f"{name} {strength:g}", damage(second, strength))
    for share in DROPPED:
        measure(f"dropped {share:g}", darkest(others, share, len(first)))
    return results


if __name__ == "__main__":
    dataset = datasets.open_dataset(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else dataset.count // 4
    numbers = np.random.default_rng(0).permutation(dataset.count)
    study(dataset.read(numbers[:count])[0], dataset.read(numbers[count:])[0])
