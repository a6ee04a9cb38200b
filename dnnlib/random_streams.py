"""Random numbers as a pure function of names and indices.

A stream is named once ("run 5/generator step/noise") and read at an index: the number of the image
in the run, or the seed that a user gave for one image. Image 1234 of a run therefore gets the
same noise whatever the batch size, the number of devices, or how often the run was interrupted, and
no generator state needs saving.
"""

import hashlib

import tensorflow as tf

PHILOX = 1  # among tf.random.Algorithm


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
        return self._draw(tf.raw_ops.StatelessRandomNormalV2, shape)

    def uniform(self, shape: list[int]) -> tf.Tensor:
        """Return numbers uniform in [0, 1) [B, *shape]."""
        return self._draw(tf.raw_ops.StatelessRandomUniformV2, shape)

    def _draw(self, sample, shape: list[int]) -> tf.Tensor:
        """Return the numbers that tf.random.stateless_* give with seed (name, index) and philox."""

        def draw(index: tf.Tensor) -> tf.Tensor:
            with on_host():
                seed = tf.stack([stream_key(self.name), index])
                key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
            return sample(shape=shape, key=key, counter=counter, alg=PHILOX)

        if self.index.shape[0] is None:
            numbers = tf.map_fn(draw, self.index, fn_output_signature=tf.float32)
        else:
            with on_host():
                indices = tf.unstack(self.index)
            numbers = tf.stack([draw(index) for index in indices])  # without a graph's loop
        if self.next is None:
            return numbers
        return tf.concat([numbers, self.next._draw(sample, shape)], axis=0)


def on_host():
    """Return the context for computing with whole numbers.

    Many of TensorFlow's operations want them there: made on a GPU, they would have to come back.
    """
    return tf.device("CPU:0")


def stream_key(name: str) -> tf.Tensor:
    """Return the int64 scalar that stands for a stream's name in a stateless seed."""
    digest = hashlib.sha256(name.encode()).digest()
    return tf.constant(int.from_bytes(digest[:8], "little", signed=True), tf.int64)
