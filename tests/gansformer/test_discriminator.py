"""What a discriminator's scores depend on."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.random_streams import RandomStream
from gansformer.config import DiscriminatorConfig
from gansformer.discriminator import Discriminator

SMALL = {"channel_base": 64, "channel_max": 16, "latent_size": 32}
ATTENTION = {**SMALL, "attention": True, "components": 4, "component_embedding": True}
IMAGES = np.random.default_rng(0).uniform(-1, 1, [4, 8, 8, 3]).astype(np.float32)


def make(label_dim: int = 0, **options) -> Discriminator:
    return Discriminator(DiscriminatorConfig(**options), resolution=8, label_dim=label_dim)


@pytest.mark.parametrize("options", [SMALL, ATTENTION], ids=["plain", "attention"])
def test_scores_are_compared_within_groups_only(options):
    alone = make(**options, stddev_group=1)
    together = alone(IMAGES)
    np.testing.assert_allclose(
        together, [alone(image[None])[0] for image in IMAGES], rtol=1e-4, atol=1e-5
    )
    compared = make(**options, stddev_group=2)  # image g of group m is g * 2 + m
    changed = IMAGES.copy()
    changed[0] = -changed[0]
    difference = np.abs(compared(IMAGES) - compared(changed))[:, 0]
    assert difference[1] < 1e-5 and difference[3] < 1e-5
    assert difference[0] > 1e-3 and difference[2] > 1e-6


@pytest.mark.parametrize("labels", [None, np.eye(4, 2, dtype=np.float32)])
def test_two_batches_at_once_have_the_scores_of_each_alone(labels):
    network = make(**ATTENTION, attention_dropout=0.5, label_dim=0 if labels is None else 2)
    batches = IMAGES, 0.5 * IMAGES[::-1] + 0.1
    streams = [RandomStream(name, tf.range(4)) for name in "ab"]
    expected = [
        network(images, labels, random=stream)
        for images, stream in zip(batches, streams, strict=True)
    ]
    result = network(
        np.concatenate(batches),
        None if labels is None else np.tile(labels, (2, 1)),
        batches=2,
        random=streams[0].then(streams[1]),
    )
    np.testing.assert_allclose(result, tf.concat(expected, axis=0), rtol=1e-4, atol=1e-5)


def test_a_score_is_the_inner_product_of_outputs_and_labels():
    network = make(label_dim=3, **SMALL)
    rows = [np.tile(row, (4, 1)).astype(np.float32) for row in np.eye(3)]
    singles = [network(IMAGES, row) for row in rows]
    mixed = network(IMAGES, 0.5 * rows[0] + 2 * rows[2])
    np.testing.assert_allclose(mixed, 0.5 * singles[0] + 2 * singles[2], rtol=1e-4, atol=1e-5)
    assert np.abs(singles[0] - singles[1]).max() > 1e-4


def test_dropout_is_for_training():
    network = make(**ATTENTION, attention_dropout=0.5)
    np.testing.assert_array_equal(network(IMAGES), network(IMAGES))
    draws = [network(IMAGES, random=RandomStream(name, tf.range(4))).numpy() for name in "aab"]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max() > 1e-5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda d: d(IMAGES[:, :4]), r"images have shape \(4, 4, 8, 3\)"),
        (lambda d: d(IMAGES), r"is conditional: give labels \[B, 2\]"),
    ],
)
def test_wrong_inputs(call, message):
    with pytest.raises(ValueError, match=message):
        call(make(label_dim=2, **SMALL))
