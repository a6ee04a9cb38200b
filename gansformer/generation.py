"""Making images from seeds: the same seed gives the same image, alone or among others."""

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.numbers import LARGEST_SEED
from dnnlib.ops.library import current_device
from dnnlib.random_streams import RandomStream
from gansformer.generator import Generator, GeneratorOutput
from gansformer.labels import describe_choices, read_label
from gansformer.snapshot import Snapshot

MOST_IMAGES = 1_000_000  # in one call
BATCH, MOST_ON_GPU = 8, 32


def images_at_once(generator: Generator) -> int:
    """Return how many images are made at once: always as many, so that not even rounding depends on
    how many are wanted.

    A GPU waits for the host where few are small, so there more, up to the pixels of 8 of 256x256.
    """
    if current_device() == "CPU":
        return BATCH
    return max(BATCH, min(MOST_ON_GPU, BATCH * 256**2 // generator.resolution**2))


def latents(generator: Generator, seeds: Sequence[int] | tf.Tensor) -> tf.Tensor:
    """Return z [B, K, z_dim] for seeds [B]: N(0, 1), and a function of each seed only."""
    shape = [generator.config.latents, generator.config.z_dim]
    seeds = seeds if tf.is_tensor(seeds) else tf.constant(list(seeds), tf.int64)
    return RandomStream("sample/z", seeds).normal(shape)


def noise_numbers(generator: Generator, seeds: Sequence[int]) -> np.ndarray:
    """Return the numbers [B, M] of the random noise of seeds [B], as Generator.synthesis takes."""
    stream = RandomStream("sample", tf.constant(list(seeds), tf.int64)).fold("noise")
    return stream.normal([generator.synthesis_network.noise_size]).numpy()


class Sampler:
    """Makes images of one generator from seeds, z or w, `size` at once; traced once.

    psi, psi_cutoff: truncation, see Generator. noise: "random" (a function of the seed), "const"
    or "none". The same w and seed give the same image, bit by bit, whichever way w came about.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        psi: float | Sequence[float] = 1.0,
        psi_cutoff: int | None = None,
        noise: str = "random",
        return_attention: bool = False,
    ):
        self.generator, self.size = generator, images_at_once(generator)
        self._is_truncated = not (isinstance(psi, (int, float)) and psi == 1)

        @tf.function(autograph=False, reduce_retracing=True)
        def map_latents(z: tf.Tensor, labels: tf.Tensor | None, center: tf.Tensor | None):
            w = generator.mapping(z, labels)
            return generator.truncate(w, psi=psi, cutoff=psi_cutoff, center=center)

        @tf.function(autograph=False, reduce_retracing=True)
        def synthesize(
            w: tf.Tensor, seeds: tf.Tensor, numbers: tf.Tensor | None = None
        ) -> GeneratorOutput:
            mode = noise if numbers is None else numbers
            return generator.synthesis(w, noise=mode, seed=seeds, return_attention=return_attention)

        self._latents = tf.function(lambda seeds: latents(generator, seeds), autograph=False)
        self._map, self._synthesize = map_latents, synthesize

    def __call__(self, seeds: Sequence[int], labels: np.ndarray | None = None) -> GeneratorOutput:
        """Return the output for all seeds [B] at once, as NumPy arrays. labels: [B, label_dim]."""
        if not len(seeds):
            raise ValueError("no seeds: give at least one")
        return _join([out for _, out in self.batches(seeds, labels)])

    def batches(
        self, seeds: Sequence[int], labels: np.ndarray | None = None
    ) -> Iterator[tuple[list[int], GeneratorOutput]]:
        """Yield (seeds of a batch, output as NumPy arrays) until all seeds are done."""

        def make(numbers: range) -> tuple[list[int], GeneratorOutput]:
            batch = [seeds[i] for i in numbers]
            padded = tf.constant(self._pad(batch), tf.int64)
            rows = None if labels is None else self._pad([labels[i] for i in numbers])
            w = self._map_batch(self._latents(padded), rows, center)
            return batch, _keep(self._synthesize(w, padded), len(batch))

        center = self._center()
        yield from _two_at_a_time(make, self._parts(range(len(seeds))))

    def map(self, seeds: Sequence[int], labels: np.ndarray | None = None) -> np.ndarray:
        """Return w [B, K, L, w_dim] of seeds, truncated: what their images are made from."""
        parts = self._parts(list(seeds))
        z = [self._latents(tf.constant(self._pad(part), tf.int64)) for part in parts]
        return self.map_latents(np.concatenate(z)[: len(seeds)], labels)

    def map_latents(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Return w [B, K, L, w_dim] for z [B, K, z_dim], after truncation."""
        center, rows = self._center(), [None] * len(z) if labels is None else labels
        parts = [
            self._map_batch(self._pad(part), None if labels is None else self._pad(row), center)
            for part, row in zip(self._parts(z), self._parts(rows), strict=True)
        ]
        return np.concatenate(parts)[: len(z)]

    def synthesize(
        self, w: np.ndarray, seeds: Sequence[int], noise: np.ndarray | None = None
    ) -> GeneratorOutput:
        """Return the output for w [B, K, L, w_dim], as it is; seeds [B] are those of the noise.

        noise: its numbers [B, M], in place of seeds and noise mode.
        """
        numbers = [None] * len(w) if noise is None else noise
        return _join(list(self.synthesize_batches(zip(w, seeds, numbers, strict=True))))

    def stream(
        self, items: Iterable[tuple[np.ndarray, int, np.ndarray | None]]
    ) -> Iterator[np.ndarray]:
        """Yield an image [H, W, C] for each (w [K, L, w_dim], seed, noise [M] or None).

        Memory does not grow with their number.
        """
        for out in self.synthesize_batches(items):
            yield from out.images

    def synthesize_batches(
        self, items: Iterable[tuple[np.ndarray, int, np.ndarray | None]]
    ) -> Iterator[GeneratorOutput]:
        """Yield the output for items as in `stream`, batch after batch."""

        def make(part: list[tuple]) -> GeneratorOutput:
            w, seeds, numbers = zip(*part, strict=True)
            numbers = None if numbers[0] is None else tf.constant(self._pad(numbers), tf.float32)
            out = self._synthesize(self._pad(w), tf.constant(self._pad(seeds), tf.int64), numbers)
            return _keep(out, len(part))

        items = iter(items)
        return _two_at_a_time(make, iter(lambda: list(itertools.islice(items, self.size)), []))

    def _map_batch(self, z, labels: np.ndarray | None, center: tf.Tensor | None) -> tf.Tensor:
        labels = None if labels is None else tf.constant(labels, tf.float32)
        return self._map(tf.convert_to_tensor(z), labels, center)

    def _parts(self, rows: Sequence) -> Iterator[Sequence]:
        return (rows[first : first + self.size] for first in range(0, len(rows), self.size))

    def _pad(self, rows: Sequence) -> np.ndarray:
        """Return the rows of a part, the last one repeated until they are as many as always."""
        return np.stack([*rows, *[rows[-1]] * (self.size - len(rows))])

    def _center(self) -> tf.Tensor | None:
        """Return what w is pulled towards: an argument, for in training it moves."""
        return self.generator.truncation_center() if self._is_truncated else None


def _two_at_a_time(make: Callable, parts: Iterable) -> Iterator:
    """Yield make(part) of each part, in order.

    Two at a time: one batch alone, layer after layer, does not keep all processors busy.
    """
    with ThreadPoolExecutor(2) as pool:
        waiting = deque()
        for part in parts:
            waiting.append(pool.submit(make, part))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _keep(out: GeneratorOutput, count: int) -> GeneratorOutput:
    """Return the first `count` of a batch, as NumPy arrays."""
    keep = lambda value: value.numpy()[:count]  # noqa: E731
    attention = out.attention and [keep(maps) for maps in out.attention]
    return GeneratorOutput(keep(out.images), keep(out.w), attention)


def _join(outputs: list[GeneratorOutput]) -> GeneratorOutput:
    """Return batches as one."""
    attention = outputs[0].attention and [
        np.concatenate(layer) for layer in zip(*(out.attention for out in outputs), strict=True)
    ]
    images, w = (np.concatenate([out[part] for out in outputs]) for part in (0, 1))
    return GeneratorOutput(images, w, attention)


def parse_seeds(text: str, *, most: int = MOST_IMAGES, option: str = "--seeds") -> list[int]:
    """Read "0-31" or "1,5,7-9". Raises UserError if it is of another form, or of too many."""
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,20})(?:-(\d{1,20}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if last < first or last > LARGEST_SEED:
            raise UserError(
                f"{option} {text}: expected numbers and ranges, such as 0-31 or 1,5,7-9, up to "
                f"{LARGEST_SEED}"
            )
        ranges.append((first, last))
    if sum(last - first + 1 for first, last in ranges) > most:
        raise UserError(f"{option} {text}: more than {most:,} images; make them in parts")
    return [seed for first, last in ranges for seed in range(first, last + 1)]


def choose_generator(
    snapshot: Snapshot,
    network: str,
    model: str,
    dtype: tf.DType = tf.float32,
    truncation: str | None = None,
) -> Generator:
    """Return generator `network` ("Gs" or "G") of a snapshot, with feature maps of type `dtype`.

    truncation: "component" or "official"; None: as it was loaded.
    Raises UserError that says which generators there are if it is not one of them.
    """
    generator = getattr(snapshot, network)
    if generator is None:
        there = [name for name in ("G", "Gs") if getattr(snapshot, name) is not None]
        hint = f"use --network {there[0]}" if there else "it has no generator at all"
        raise UserError(f"{model} has no network {network}; {hint}")
    generator.truncation = truncation or generator.truncation
    if dtype == tf.float32:
        return generator
    converted = Generator(
        generator.config,
        resolution=generator.resolution,
        channels=generator.channels,
        label_dim=generator.label_dim,
        dtype=dtype,
    )
    for variable, source in zip(converted.variables, generator.variables, strict=True):
        variable.assign(source)
    converted.truncation = generator.truncation
    converted.component_averages = generator.component_averages
    return converted


def label_rows(
    snapshot: Snapshot, generator: Generator, label: str | None, count: int
) -> np.ndarray | None:
    """Return `count` equal rows [count, label_dim] for a label given as text, see read_label.

    None if the generator is not conditional. Raises UserError if `label` does not fit it.
    """
    size = generator.label_dim
    if not size:
        if label is not None:
            raise UserError("this model is not conditional; leave --label out")
        return None
    names, numbers = label_names(snapshot, size), snapshot.details.get("label_numbers")
    if label is None:
        raise UserError(f"this model is conditional; {describe_choices(names, numbers)}")
    vector = read_label(label, names, numbers)
    return np.broadcast_to(vector, (count, len(vector)))


def label_names(snapshot: Snapshot, size: int) -> list[str]:
    """Return a name for each of the `size` values of a model's labels."""
    return snapshot.details.get("label_names") or [str(i) for i in range(size)]
