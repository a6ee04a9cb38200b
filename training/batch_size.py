"""Whether a batch fits the devices: in number, and in memory."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import tensorflow as tf

from dnnlib.computing import ComputingOptions, find_drawback
from dnnlib.errors import UserError
from dnnlib.memory import is_out_of_memory
from training.config import RunConfig, TrainingConfig
from training.memory_trial import fits_in_memory


def check_batch(config: RunConfig, devices: int) -> None:
    """Raise UserError if the batch cannot be divided among the devices."""
    training, group = config.training, config.discriminator.stddev_group
    if training.batch_per_device == "auto":
        sizes = range(1, training.batch_size + 1)
        if any(_fits(config, training.batch_size, n, devices) for n in sizes):
            return
        config = _with_size(config, 1)
        training = config.training
    together = training.batch_per_device * devices
    if training.batch_size % together:
        raise UserError(
            f"training.batch_size={training.batch_size} does not divide into {devices} devices x "
            f"training.batch_per_device={training.batch_per_device}; {_suggest(config, devices)}"
        )
    if group > 1 and training.batch_per_device % min(group, together):
        raise UserError(
            f"training.batch_per_device={training.batch_per_device} is not a multiple of "
            f"discriminator.stddev_group={group}, as {devices} device(s) need; "
            f"{_suggest(config, devices)}"
        )


def choose_batch(
    config: RunConfig,
    strategy: tf.distribute.Strategy,
    log: Callable[[str], None],
    *,
    computing: ComputingOptions = ComputingOptions(),  # noqa: B008
    before: int | None = None,
    channels: int = 3,
    label_dim: int = 0,
) -> RunConfig:
    """Return the configuration with a number in place of training.batch_per_device=auto.

    On GPUs that is the largest one with which a minibatch fits into their memory: minibatches are
    computed, from the largest possible one down. On CPUs, which end a process that takes too much
    memory, it is the default or the next possible below.
    computing: what the strategy was made by. before: what a run had when it was interrupted, and
    keeps if these devices can. Raises UserError if no number is possible.
    """
    devices, batch_size = strategy.num_replicas_in_sync, config.training.batch_size
    has_gpus = bool(tf.config.get_visible_devices("GPU"))
    several_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if config.training.batch_per_device != "auto":
        several_steps = config.training.batch_per_device * devices < batch_size
        if has_gpus and several_steps and not several_workers:
            log("on GPUs more images at once are faster: training.batch_per_device=auto")
        return config
    if several_workers:
        raise UserError("training.batch_per_device=auto is for one worker; give a number")
    check_batch(config, devices)
    sizes = [n for n in range(batch_size, 0, -1) if _fits(config, batch_size, n, devices)]
    usual = TrainingConfig.batch_per_device
    if before in sizes:
        size, reason = before, "as before"
    elif not has_gpus:
        size = next((n for n in sizes if n <= usual), sizes[-1])
        reason = "the memory of CPUs is not tried out"
    else:
        data = channels, label_dim
        fits = lambda n: fits_in_memory(_with_size(config, n), computing, *data)  # noqa: E731
        # Memory that even the smallest one lacks is an error of the training.
        size = next(filter(fits, sizes[:-1]), sizes[-1])
        reason = "the largest that fits into memory"
    group, together = config.discriminator.stddev_group, size * devices
    compared = f"; minibatch stddev compares {min(group, together)} of {together} images"
    log(f"training.batch_per_device=auto: {size}, {reason}{compared if group > 1 else ''}")
    return _with_size(config, size)


def _with_size(config: RunConfig, size: int) -> RunConfig:
    training = dataclasses.replace(config.training, batch_per_device=size)
    return dataclasses.replace(config, training=training)


def _suggest(config: RunConfig, devices: int) -> str:
    """Return settings with which check_batch succeeds, as near as possible to the present ones."""
    size, per_device = config.training.batch_size, config.training.batch_per_device
    for difference in itertools.count():  # devices x stddev_group is one that can be divided
        for other in (size - difference, size + difference):
            sizes = range(1, max(other // devices, 0) + 1)
            possible = [n for n in sizes if _fits(config, other, n, devices)]
            if possible:
                # The largest that is sure to fit into memory.
                best = max((n for n in possible if n <= per_device), default=min(possible))
                changed = f"training.batch_size={other} " if other != size else ""
                return f"use --set {changed}training.batch_per_device={best}"


def _fits(config: RunConfig, batch_size: int, per_device: int, devices: int) -> bool:
    group = config.discriminator.stddev_group
    together = per_device * devices
    whole_groups = group <= 1 or per_device % min(group, together) == 0
    return batch_size % together == 0 and whole_groups


@contextmanager
def memory_errors(config: RunConfig, devices: int) -> Iterator[None]:
    """Say which setting to change when a device runs out of memory inside the block."""
    try:
        yield
    except (tf.errors.OpError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = _smaller_batch(config, devices)
        remedy = (
            f"use a smaller micro-batch, --set training.batch_per_device={smaller} (the gradient "
            "is still that of training.batch_size images)"
            if smaller
            else f"use {_shorter_numbers()}fewer channels or a lower data.resolution"
        )
        raise UserError(
            "the device ran out of memory with "
            f"training.batch_per_device={config.training.batch_per_device}; {remedy}"
        ) from error


def _shorter_numbers() -> str:
    return "" if find_drawback("bfloat16") else "--precision bfloat16, "


def _smaller_batch(config: RunConfig, devices: int) -> int | None:
    """Return the next smaller batch_per_device that is possible, or None."""
    for size in range(config.training.batch_per_device - 1, 0, -1):
        with suppress(UserError):
            check_batch(_with_size(config, size), devices)
            return size
    return None
