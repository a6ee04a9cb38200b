"""Random numbers as a pure function of names and indices.

A stream is named once ("run 5/generator step/noise") and read at an index: the number of the image
in the run, or the seed that a user gave for one image. Image 1234 of a run therefore gets the
same noise whatever the batch size, the number of devices, or how often the run was interrupted, and
no generator state needs saving.
"""

import hashlib

import tensorflow as tf

from dnnlib import ops
from dnnlib.devices import on_host


class RandomStream:
    """Independent random numbers for each image of a batch.

    name:  what the numbers are for; streams with different names are independent.
    index: int64 [B], which element of the stream each image of the batch uses.
    """

    def __init__(self, name: str, index: tf.Tensor):
        self.name = name
        with on_host():
            self.index = tf.cast(tf.reshape(index, [-1]), tf.int64)
        self.next: RandomStream | None = None

    def fold(self, name: str) -> "RandomStream":
        """Return the stream `self.name/name` at the same indices."""
        folded = RandomStream(f"{self.name}/{name}", self.index)
        folded.next = self.next and self.next.fold(name)
        return folded

    def then(self, other: "RandomStream") -> "RandomStream":
        """Return the numbers of two batches, one after the other: first this one's."""
        both = RandomStream(self.name, self.index)
        both.next = other if self.next is None else self.next.then(other)
        return both

    def normal(self, shape: list[int]) -> tf.Tensor:
        """Return N(0, 1) numbers [B, *shape]."""
        return self._draw(shape, "normal")

    def uniform(self, shape: list[int]) -> tf.Tensor:
        """Return numbers uniform in [0, 1) [B, *shape]."""
        return self._draw(shape, "uniform")

    def _draw(self, shape: list[int], distribution: str) -> tf.Tensor:
        """Return the numbers that tf.random.stateless_* give with seed (name, index) and philox."""
        with on_host():
            seeds = self._seeds()
        return ops.stateless_random(seeds, shape, distribution=distribution)

    def _seeds(self) -> tf.Tensor:
        """Return the seeds [B, 2] of the images of this stream and of those that follow it."""
        names = tf.fill(tf.shape(self.index), stream_key(self.name))
        seeds = tf.stack([names, self.index], axis=1)
        return seeds if self.next is None else tf.concat([seeds, self.next._seeds()], axis=0)


def stream_key(name: str) -> tf.Tensor:
    """Return the int64 scalar that stands for a stream's name in a stateless seed."""
    digest = hashlib.sha256(name.encode()).digest()
    return tf.constant(int.from_bytes(digest[:8], "little", signed=True), tf.int64)
