"""Whether a batch fits the devices: in number, and in memory."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import tensorflow as tf

from dnnlib.computing import find_drawback
from dnnlib.errors import UserError
from training.config import RunConfig


def check_batch(config: RunConfig, devices: int) -> None:
    """Raise UserError if the batch cannot be divided among the devices."""
    training, group = config.training, config.discriminator.stddev_group
    together = training.batch_per_device * devices
    if training.batch_size % together:
        raise UserError(
            f"training.batch_size={training.batch_size} does not divide into {devices} devices x "
            f"training.batch_per_device={training.batch_per_device}; "
            f"try training.batch_per_device={max(training.batch_size // devices, 1)}"
        )
    if group > 1 and training.batch_per_device % min(group, together):
        raise UserError(
            f"training.batch_per_device={training.batch_per_device} is not a multiple of "
            f"discriminator.stddev_group={group}, as {devices} device(s) need; change one of them"
        )


@contextmanager
def memory_errors(config: RunConfig, devices: int) -> Iterator[None]:
    """Say which setting to change when a device runs out of memory inside the block."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
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
            training = dataclasses.replace(config.training, batch_per_device=size)
            check_batch(dataclasses.replace(config, training=training), devices)
            return size
    return None
