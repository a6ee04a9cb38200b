"""The processes of one job on several machines, as TensorFlow's variable TF_CONFIG names them.

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:9000", "10.0.0.2:9000"]},
                "task": {"type": "worker", "index": 0}}'

The first one is the chief: it alone writes files. Without TF_CONFIG there is one process.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError

EXAMPLE = (
    'like {"cluster": {"worker": ["host-a:9000", "host-b:9000"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Workers:
    """All processes of the job, and which of them this is."""

    addresses: tuple[str, ...] = ("localhost",)
    index: int = 0

    @property
    def count(self) -> int:
        """Number of processes."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files."""
        return self.index == 0

    def any(self, flag: bool, strategy: tf.distribute.Strategy) -> bool:
        """Return whether `flag` is set in any process; all must ask at the same point."""
        return flag if self.count == 1 else bool(_sum(tf.constant(float(flag)), strategy) > 0)

    def copy_from_chief(
        self, variables: Iterable[tf.Variable], strategy: tf.distribute.Strategy
    ) -> None:
        """Give variables the values that they have in the chief."""
        if self.count == 1:
            return
        by_dtype: dict[tf.DType, list[tf.Variable]] = {}
        for variable in variables:
            by_dtype.setdefault(variable.dtype, []).append(variable)
        for group in by_dtype.values():
            values = tf.concat([tf.reshape(variable, [-1]) for variable in group], 0)
            values = _sum(values if self.is_chief else tf.zeros_like(values), strategy)
            sizes = [variable.shape.num_elements() for variable in group]
            for variable, value in zip(group, tf.split(values, sizes), strict=True):
                variable.assign(tf.reshape(value, variable.shape))

    def require_same(self, what: str, digest: str, strategy: tf.distribute.Strategy) -> None:
        """Raise UserError in every process unless all have the same hexadecimal `digest`."""
        if self.count == 1:
            return
        mine = np.zeros([self.count, 4], np.float32)
        mine[self.index] = [int(digest[place : place + 4], 16) for place in (0, 4, 8, 12)]
        every = _sum(tf.constant(mine), strategy).numpy()
        others = [n for n in range(self.count) if (every[n] != every[0]).any()]
        if others:
            raise UserError(
                f"{what} of worker {others[0]} ({self.addresses[others[0]]}) differs from worker "
                f"0's ({self.addresses[0]}); start all with the same command and data"
            )

    @contextmanager
    def user_errors(self) -> Iterator[None]:
        """Replace TensorFlow's error about a process that has ended by a UserError."""
        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
            if self.count == 1:
                raise
            raise UserError(
                f"worker {self.index} ({self.addresses[self.index]}) lost the others: one of "
                f"{', '.join(self.addresses)} has ended or cannot be reached; look at its output, "
                "then start the same command on all to continue"
            ) from None


def find_workers() -> Workers:
    """Read TF_CONFIG. Raises UserError if it is not valid."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
        cluster, task = config.get("cluster", {}), config.get("task", {})
        jobs = {name: [str(address) for address in cluster[name]] for name in cluster}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"TF_CONFIG is {text!r}; it must be JSON, {EXAMPLE}") from None
    unknown = sorted(set(jobs) - {"chief", "worker"})
    if unknown:
        raise UserError(f"TF_CONFIG has jobs {', '.join(unknown)}; only chief and worker train")
    addresses = jobs.get("chief", []) + jobs.get("worker", [])
    if len(addresses) < 2:
        return Workers()
    if not 0 <= index < len(jobs.get(kind, [])):
        raise UserError(f"TF_CONFIG has no task {kind} {index} in its cluster; write it {EXAMPLE}")
    return Workers(
        tuple(addresses), index + (len(jobs.get("chief", [])) if kind == "worker" else 0)
    )


@tf.function(autograph=False)
def _sum(value: tf.Tensor, strategy: tf.distribute.Strategy) -> tf.Tensor:
    """Return the sum over processes; of the replicas in a process the first one counts."""
    here = strategy.num_replicas_in_sync // find_workers().count  # replicas of this process

    def sum_replicas(value: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group % here == 0
        return context.all_reduce("SUM", tf.where(is_first, value, tf.zeros_like(value)))

    return strategy.experimental_local_results(strategy.run(sum_replicas, args=(value,)))[0]
