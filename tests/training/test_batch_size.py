"""Batches that devices cannot share: what is suggested must itself work; and batches by memory."""

import dataclasses
import re

import pytest
import tensorflow as tf

import training.batch_size as choosing
from dnnlib.errors import UserError
from training.batch_size import check_batch, choose_batch
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


def with_auto(config: RunConfig, **options) -> RunConfig:
    training = dataclasses.replace(config.training, batch_per_device="auto", **options)
    return dataclasses.replace(config, training=training)


@pytest.fixture
def tried(monkeypatch) -> list[int]:
    """As on a GPU that has memory for 9 images; what was tried."""
    sizes = []

    def fits(config, *arguments):
        sizes.append(config.training.batch_per_device)
        return sizes[-1] <= 9

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    monkeypatch.setattr(choosing, "fits_in_memory", fits)
    return sizes


def test_auto_takes_the_largest_batch_that_fits(config, tried):
    lines = []
    chosen = choose_batch(with_auto(config), tf.distribute.get_strategy(), lines.append)
    assert chosen.training.batch_per_device == 8 and tried == [32, 16, 8]
    (line,) = lines
    assert line.startswith("training.batch_per_device=auto: 8, the largest that fits")
    assert line.endswith("stddev compares 4 of 8 images")


@pytest.mark.parametrize("size, lines_told", [(4, 1), (32, 0)])
def test_a_gpu_is_told_of_auto_where_it_takes_a_batch_in_several_steps(
    config, tried, size, lines_told
):
    training = dataclasses.replace(config.training, batch_size=32, batch_per_device=size)
    config, lines = dataclasses.replace(config, training=training), []
    assert choose_batch(config, tf.distribute.get_strategy(), lines.append) is config
    assert len(lines) == lines_told and all("batch_per_device=auto" in line for line in lines)
    assert tried == []


@pytest.mark.parametrize("before, expected", [(4, 4), (5, 8), (None, 8)])
def test_auto_stays_as_a_run_began(config, tried, before, expected):
    strategy = tf.distribute.get_strategy()
    chosen = choose_batch(with_auto(config), strategy, print, before=before)
    assert chosen.training.batch_per_device == expected
    assert bool(tried) == (before != 4)


@pytest.mark.parametrize("batch_size, expected", [(32, 4), (6, 3), (7, 1)])
def test_auto_on_a_cpu(config, batch_size, expected):
    discriminator = dataclasses.replace(config.discriminator, stddev_group=1)
    config = dataclasses.replace(with_auto(config, batch_size=batch_size))
    config = dataclasses.replace(config, discriminator=discriminator)
    lines = []
    chosen = choose_batch(config, tf.distribute.get_strategy(), lines.append)
    assert chosen.training.batch_per_device == expected
    assert lines == [
        f"training.batch_per_device=auto: {expected}, the memory of CPUs is not tried out"
    ]


def test_auto_for_a_batch_that_cannot_be_divided(config):
    with pytest.raises(UserError, match="use --set training.batch_size=36"):
        check_batch(with_auto(config), 3)


def test_another_word_than_auto(tmp_path):
    with pytest.raises(UserError, match="batch_per_device: 'max' is not one of auto"):
        load_config("demo", ["training.batch_per_device=max"])
