"""Batches that devices cannot share: what is suggested must itself work."""

import dataclasses
import re

import pytest

from dnnlib.errors import UserError
from training.batch_size import check_batch
from training.config import RunConfig, load_config


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("cartoonset64-duplex")


@pytest.mark.parametrize("devices", [2, 3, 5, 6, 7, 12, 16, 64])
@pytest.mark.parametrize("per_device", [1, 4, 32])
@pytest.mark.parametrize("group", [0, 4, 8])
def test_suggestions_work(config, devices, per_device, group):
    training = dataclasses.replace(config.training, batch_per_device=per_device)
    discriminator = dataclasses.replace(config.discriminator, stddev_group=group)
    config = dataclasses.replace(config, training=training, discriminator=discriminator)
    try:
        check_batch(config, devices)
    except UserError as error:
        suggested = str(error).split("use --set ")[1]
        found = dict(re.findall(r"training\.(batch_\w+)=(\d+)", suggested))
        assert found, error
        changes = {name: int(value) for name, value in found.items()}
        changed = dataclasses.replace(training, **changes)
        check_batch(dataclasses.replace(config, training=changed), devices)
