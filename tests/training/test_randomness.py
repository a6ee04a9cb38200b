"""What a step draws: functions of the image's number, with the distributions they should have."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import gansformer
from dnnlib.random_streams import RandomStream
from tests.gansformer.conftest import TINY
from training.randomness import Randomness, mix


@pytest.fixture(scope="module")
def sampler():
    generator, _ = gansformer.build(TINY, resolution=16)
    return Randomness(generator, seed=5, style_mixing=0.9, component_mixing=0.3)


def as_range(first, count):
    return tf.range(first, first + count, dtype=tf.int64)


def test_draws_do_not_depend_on_the_batch(sampler):
    whole = sampler.draw("generator", as_range(40, 8), tf.constant(40, tf.int64))
    half = sampler.draw("generator", as_range(44, 4), tf.constant(40, tf.int64))
    np.testing.assert_array_equal(whole.z[4:8], half.z[:4])
    np.testing.assert_array_equal(whole.z[12:], half.z[4:])
    assert whole.style_cutoff == half.style_cutoff
    for maps, later in zip(whole.noise, half.noise, strict=True):
        np.testing.assert_array_equal(maps[4:], later)


def test_phases_and_seeds_draw_differently(sampler):
    first = tf.constant(0, tf.int64)
    other = Randomness(sampler.generator, seed=6, style_mixing=0.9, component_mixing=0)
    draws = [
        s.draw(phase, as_range(0, 2), first)
        for s, phase in ((sampler, "generator"), (sampler, "discriminator"), (other, "generator"))
    ]
    values = [x.numpy() for draw in draws for x in tf.split(draw.z, 2)]
    for i, one in enumerate(values):
        for two in values[:i]:
            assert np.abs(one - two).min() > 0


def test_mixing_cutoffs(sampler):
    """With probability 0.9 uniform in 1 .. L - 1, else L."""
    layers = sampler.generator.layers
    draw = tf.function(lambda i: sampler.draw("generator", i[None], i).style_cutoff)
    cutoffs = np.array([int(draw(tf.constant(i, tf.int64))) for i in range(600)])
    counts = np.bincount(cutoffs, minlength=layers + 1)
    assert counts[0] == 0 and counts.sum() == 600
    expected = 600 * np.array([0.9 / (layers - 1)] * (layers - 1) + [0.1])
    assert scipy.stats.chisquare(counts[1:], expected).pvalue > 1e-4


def test_mix_replaces_later_layers_and_components():
    w, second = tf.zeros([2, 3, 4, 5]), tf.ones([2, 3, 4, 5])
    mixed = mix(w, second, style=tf.constant(3), component=tf.constant(2)).numpy()
    np.testing.assert_array_equal(mixed[:, :2, :3], 0)
    np.testing.assert_array_equal(mixed[:, 2], 1)  # the global latent, being last, is replaced
    np.testing.assert_array_equal(mixed[:, :, 3], 1)


def test_streams_have_their_distributions():
    stream = RandomStream("test", as_range(0, 64))
    normal = stream.normal([500]).numpy()
    assert scipy.stats.kstest(normal.reshape(-1), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(normal) - np.eye(64)).max() < 0.25
    uniform = stream.fold("u").uniform([500]).numpy().reshape(-1)
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert (uniform < 1).all()


def test_stream_is_the_same_in_a_graph_of_unknown_batch():
    signature = [tf.TensorSpec([None], tf.int64)]
    traced = tf.function(lambda i: RandomStream("a", i).normal([3]), input_signature=signature)
    index = tf.constant([5, 1, 99], tf.int64)
    np.testing.assert_array_equal(traced(index), RandomStream("a", index).normal([3]))


def test_one_stream_after_another():
    a, b = RandomStream("a", as_range(3, 2)), RandomStream("b", as_range(0, 3))
    both = a.then(b).then(a).fold("x").uniform([4])
    parts = [stream.fold("x").uniform([4]) for stream in (a, b, a)]
    np.testing.assert_array_equal(both, tf.concat(parts, axis=0))
