"""Images close to each other on paths between random latents, for the path length."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from dnnlib.random_streams import RandomStream
from gansformer.generation import images_at_once
from gansformer.generator import Generator
from metrics.path_length import EPSILON, LatentPath

LARGEST = 256  # larger images are averaged down to this, as in the official metric


class PathSampler:
    """Makes pairs of images at t and t + epsilon of a generator's latent paths.

    Noise and label are the same for both. psi, noise: as in `Sampler`.
    """

    def __init__(self, generator: Generator, path: LatentPath, *, psi: float, noise: str):
        shape = [generator.config.latents, generator.config.z_dim]

        @tf.function(autograph=False, reduce_retracing=True)
        def evaluate(seeds: tf.Tensor, labels: tf.Tensor | None) -> list[tf.Tensor]:
            stream = RandomStream("path", seeds)
            start, end = (stream.fold(side).normal(shape) for side in ("start", "end"))
            t = stream.fold("t").uniform([1, 1])  # [B, 1, 1]
            t = t if path.sampling == "full" else tf.zeros_like(t)
            if path.space == "w":
                start, end = generator.mapping(start, labels), generator.mapping(end, labels)
                points = [start + s[..., None] * (end - start) for s in (t, t + EPSILON)]
            else:
                directions = [interpolate_spherically(start, end, s) for s in (t, t + EPSILON)]
                # The global latent is not normalised by the network: it gets its usual length.
                points = [generator.mapping(z * shape[1] ** 0.5, labels) for z in directions]
            ws = [generator.truncate(w, psi=psi) for w in points]
            return [generator.synthesis(w, noise=noise, seed=seeds).images for w in ws]

        self._evaluate, self._size = evaluate, images_at_once(generator)

    def pairs(
        self, seeds: range, labels: np.ndarray | None = None
    ) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yield batches of pairs, each float32 [B, H, W, C] in about 0..255, not clipped."""
        for first in range(0, len(seeds), self._size):
            numbers = np.arange(first, min(first + self._size, len(seeds)))
            padded = np.resize(numbers, self._size)  # always as many: see gansformer.generation
            rows = None if labels is None else tf.constant(labels[padded], tf.float32)
            images = self._evaluate(tf.constant(seeds.start + padded, tf.int64), rows)
            yield tuple((part[: len(numbers)] + 1) * 127.5 for part in images)


def interpolate_spherically(start: tf.Tensor, end: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Great-circle interpolation of directions. start, end: [..., D]; t: [..., 1]."""
    start, end = tf.math.l2_normalize(start, -1), tf.math.l2_normalize(end, -1)
    cosine = tf.reduce_sum(start * end, axis=-1, keepdims=True)
    angle = t * tf.acos(tf.clip_by_value(cosine, -1, 1))
    sideways = tf.math.l2_normalize(end - cosine * start, -1)
    return tf.math.l2_normalize(start * tf.cos(angle) + sideways * tf.sin(angle), -1)


def crop_face(images: tf.Tensor) -> tf.Tensor:
    """Return the part of [B, H, W, C] where aligned photographs of FFHQ have the face."""
    unit = images.shape[1] // 8
    return images[:, 3 * unit : 7 * unit, 2 * unit : 6 * unit]


def shrink(images: tf.Tensor) -> tf.Tensor:
    """Average images [B, H, W, C] down to LARGEST rows, if they have more."""
    factor = images.shape[1] // LARGEST
    return tf.nn.avg_pool2d(images, factor, factor, "VALID") if factor > 1 else images
