"""Making pictures from seeds: the same seed gives the same picture, whatever it is made with."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from dnnlib.random_streams import RandomStream
from gansformer.generator import Generator, GeneratorOutput

BATCH = 8  # always this many at a time: rounding, too, does not depend on how many are asked for


def latents_from_seeds(generator: Generator, seeds: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """Return z [B, K, z_dim], N(0, 1), a function of the seeds only."""
    shape = [generator.config.latents, generator.config.z_dim]
    seeds = seeds if tf.is_tensor(seeds) else tf.constant(list(seeds), tf.int64)
    return RandomStream("sample/z", seeds).normal(shape)


class SeedSampler:
    """Makes pictures of one generator; traced once for all batches.

    psi: truncation. noise: "random" (a function of the seed), "const" or "none".
    """

    def __init__(
        self,
        generator: Generator,
        *,
        psi: float = 1.0,
        psi_cutoff: int | None = None,
        noise: str = "random",
        return_attention: bool = False,
    ):
        self.generator = generator

        @tf.function(autograph=False, reduce_retracing=True)
        def evaluate(seeds: tf.Tensor, labels: tf.Tensor | None) -> GeneratorOutput:
            return generator(
                latents_from_seeds(generator, seeds),
                labels,
                psi=psi,
                psi_cutoff=psi_cutoff,
                noise=noise,
                seed=seeds,
                return_attention=return_attention,
            )

        self._evaluate = evaluate

    def batches(
        self, seeds: Sequence[int], labels: np.ndarray | None = None
    ) -> Iterator[tuple[list[int], GeneratorOutput]]:
        """Yield (seeds of a batch, output as NumPy arrays) until all seeds are done."""
        seeds = list(seeds)
        starts = range(0, len(seeds), BATCH)
        # Two at a time: one batch alone, layer after layer, does not keep all processors busy.
        with ThreadPoolExecutor(2) as pool:
            waiting = deque()
            for first in starts:
                part = slice(first, first + BATCH)
                rows = None if labels is None else np.asarray(labels[part], np.float32)
                waiting.append(pool.submit(self._make, seeds[part], rows))
                if len(waiting) > 2:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _make(
        self, seeds: list[int], labels: np.ndarray | None
    ) -> tuple[list[int], GeneratorOutput]:
        """Evaluate up to BATCH seeds, as many of them as BATCH, and return what was asked for."""
        count, padding = len(seeds), BATCH - len(seeds)
        padded = tf.constant(seeds + seeds[-1:] * padding, tf.int64)
        if labels is not None:
            labels = tf.constant(np.concatenate([labels, np.repeat(labels[-1:], padding, axis=0)]))
        out = self._evaluate(padded, labels)
        keep = lambda value: value.numpy()[:count]  # noqa: E731
        attention = out.attention and [keep(maps) for maps in out.attention]
        return seeds, GeneratorOutput(keep(out.images), keep(out.w), attention)
