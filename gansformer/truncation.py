"""Truncation (Karras et al. 2019, section 3.3): what w is pulled towards, and how far.

The official program has one average of w for all latents of a GANformer ("official"): a point at
which no single one of them lies. "component" pulls each towards its own average.
"""

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from dnnlib.cache import cache_directory
from dnnlib.config import to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from dnnlib.random_streams import RandomStream
from gansformer.variables import variables_by_name

if TYPE_CHECKING:
    from gansformer.generator import Generator

TRUNCATIONS = ("component", "official")
SAMPLES = 10_000  # as many latents as Karras et al. (2020) average for projection
BATCH = 1000


def average_components(
    generator: "Generator", labels: np.ndarray | None = None, mapping: Callable | None = None
) -> np.ndarray:
    """Return the average of w of each component and the global latent, [K, w_dim].

    Over 10,000 fixed latents, and over `labels` [N, label_dim] if the generator is conditional
    (each as often as the others). A function of the weights and the labels only.
    mapping: the generator's, traced, where this is called often; None: as it is.
    Raises ValueError if it is conditional and there are no labels.
    """
    return w_statistics(generator, labels, mapping)[0]


def cached_w_statistics(
    generator: "Generator", labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return w_statistics, from the cache of files if they were computed before.

    A damaged file is replaced; where none can be written, they are computed each time.
    """
    path = None
    with contextlib.suppress(UserError, OSError, ValueError, EOFError, zipfile.BadZipFile):
        path = cache_directory("averages") / f"{mapping_digest(generator, labels)}.npy"
        stored = np.load(path, allow_pickle=False)
        config = generator.config
        if stored.shape == (2, config.latents, config.component_dim) and np.isfinite(stored).all():
            return stored[0], stored[1]
    mean, deviation = w_statistics(generator, labels)
    with contextlib.suppress(OSError):
        if path is not None:
            with atomic_file(path) as file:
                np.save(file, np.stack([mean, deviation]))
    return mean, deviation


def mapping_digest(generator: "Generator", labels: np.ndarray | None = None) -> str:
    """Return what tells the w of one generator (and labels) from those of another."""
    digest = hashlib.sha256(json.dumps([SAMPLES, BATCH, to_mapping(generator.config)]).encode())
    for name, variable in sorted(variables_by_name(generator.mapping_network).items()):
        digest.update(name.encode() + variable.numpy().tobytes())
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, np.float32).tobytes())
    return digest.hexdigest()[:32]


def w_statistics(
    generator: "Generator", labels: np.ndarray | None = None, mapping: Callable | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return average_components and the standard deviations of w around it, both [K, w_dim]."""
    total, squares = 0.0, 0.0
    for w in sample_w(generator, SAMPLES, labels, mapping):
        w = w.astype(np.float64)
        total, squares = total + w.sum(axis=0), squares + np.square(w).sum(axis=0)
    mean = total / SAMPLES
    deviation = np.sqrt(np.maximum(squares / SAMPLES - mean**2, 0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def sample_w(
    generator: "Generator",
    count: int,
    labels: np.ndarray | None = None,
    mapping: Callable | None = None,
) -> Iterator[np.ndarray]:
    """Yield w [1000, K, w_dim] of `count` fixed latents, without truncation.

    Raises ValueError if the generator is conditional and there are no labels.
    """
    if generator.label_dim and labels is None:
        raise ValueError("this generator is conditional: give labels to average over")
    mapping = mapping or generator.mapping
    shape = [BATCH, generator.config.latents, generator.config.z_dim]
    for first in range(0, count, BATCH):
        z = RandomStream("average of w", tf.constant([first], tf.int64)).normal(shape)[0]
        rows = None
        if generator.label_dim:
            rows = np.take(labels, np.arange(first, first + BATCH), axis=0, mode="wrap")
        yield mapping(z, rows)[:, :, 0].numpy()
