"""Truncation (Karras et al. 2019, section 3.3): what w is pulled towards, and how far.

The official program has one average of w for all latents of a GANformer ("official"): a point at
which no single one of them lies. "component" pulls each towards its own average.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from dnnlib.random_streams import RandomStream

if TYPE_CHECKING:
    from gansformer.generator import Generator

TRUNCATIONS = ("component", "official")
SAMPLES = 10_000  # as many latents as Karras et al. (2020) average for projection
BATCH = 1000


def average_components(generator: "Generator", labels: np.ndarray | None = None) -> np.ndarray:
    """Return the average of w of each component and the global latent, [K, w_dim].

    Over 10,000 fixed latents, and over `labels` [N, label_dim] if the generator is conditional
    (each as often as the others). A function of the weights and the labels only.
    Raises ValueError if it is conditional and there are no labels.
    """
    return w_statistics(generator, labels)[0]


def w_statistics(
    generator: "Generator", labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return average_components and the standard deviations of w around it, both [K, w_dim]."""
    total, squares = 0.0, 0.0
    for w in sample_w(generator, SAMPLES, labels):
        w = w.astype(np.float64)
        total, squares = total + w.sum(axis=0), squares + np.square(w).sum(axis=0)
    mean = total / SAMPLES
    deviation = np.sqrt(np.maximum(squares / SAMPLES - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def sample_w(
    generator: "Generator", count: int, labels: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield w [1000, K, w_dim] of `count` fixed latents, without truncation.

    Raises ValueError if the generator is conditional and there are no labels.
    """
    if generator.label_dim and labels is None:
        raise ValueError("this generator is conditional: give labels to average over")
    shape = [BATCH, generator.config.latents, generator.config.z_dim]
    for first in range(0, count, BATCH):
        z = RandomStream("average of w", tf.constant([first], tf.int64)).normal(shape)[0]
        rows = None
        if generator.label_dim:
            rows = np.take(labels, np.arange(first, first + BATCH), axis=0, mode="wrap")
        yield generator.mapping(z, rows)[:, :, 0].numpy()
