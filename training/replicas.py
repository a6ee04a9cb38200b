"""Replicas: which images each of them takes, and how their results become one."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib.devices import on_host
from dnnlib.workers import find_workers


class Replicas:
    """How a micro-batch is divided among the replicas of a strategy.

    images: which images of the micro-batch each replica takes, int64 [replicas, B / replicas].
    """

    def __init__(self, strategy: tf.distribute.Strategy, batch_per_device: int, group: int):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self.batch_per_device = batch_per_device
        self.micro_batch = batch_per_device * self.count
        self.images = divide(self.micro_batch, self.count, group)
        workers = find_workers()
        self.here = self.count // workers.count  # replicas of this process
        self.first_here = workers.index * self.here

    @property
    def images_here(self) -> np.ndarray:
        """The images of this process's replicas, replica after replica."""
        return self.images[self.first_here : self.first_here + self.here].reshape(-1)

    def run(self, function: Callable, *arguments: tf.Tensor):
        """Run on every replica with the same arguments, and return the mean of the results."""
        average = lambda *arguments: mean_over_replicas(function(*arguments))  # noqa: E731
        results = self.strategy.run(average, args=arguments)
        first = lambda result: self.strategy.experimental_local_results(result)[0]  # noqa: E731
        return tf.nest.map_structure(first, results)

    def my_images(self, first: tf.Tensor) -> tf.Tensor:
        """Return the numbers of the images that this replica takes, int64 [batch_per_device].

        first: that of the micro-batch's first image.
        """
        with on_host():
            return first + tf.gather(tf.constant(self.images), _replica())

    def my_part(self, values: tf.Tensor) -> tf.Tensor:
        """Return this replica's part of what all replicas of this process were given."""
        if self.here == 1:
            return values
        size = self.batch_per_device
        with on_host():
            start = (_replica() - self.first_here) * size
        return tf.ensure_shape(values[start : start + size], [size, *values.shape[1:]])


def divide(micro_batch: int, replicas: int, group: int) -> np.ndarray:
    """Return which images of a micro-batch each replica takes, int64 [replicas, B / replicas].

    Minibatch stddev compares image g M + m with those of other g, where M is the number of
    groups: each replica takes whole groups. Any number of replicas has the same first halves.
    """
    group = min(group, micro_batch) if group > 1 else micro_batch // replicas
    numbers = np.arange(micro_batch, dtype=np.int64).reshape(group, replicas, -1)
    return numbers.transpose(1, 0, 2).reshape(replicas, -1)


def mean_over_replicas(values):
    """Return the means of nested tensors over replicas, in a single exchange; differentiable."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return values
    parts = tf.nest.flatten(values)
    flat = context.all_reduce("MEAN", tf.concat([tf.reshape(part, [-1]) for part in parts], 0))
    means = tf.split(flat, [part.shape.num_elements() for part in parts])
    means = [tf.reshape(mean, part.shape) for mean, part in zip(means, parts, strict=True)]
    return tf.nest.pack_sequence_as(values, means)


def _replica() -> tf.Tensor:
    """Return the number of this replica."""
    context = tf.distribute.get_replica_context()
    return tf.cast(context.replica_id_in_sync_group, tf.int64)
