"""A batch of random numbers is what TensorFlow draws for each seed alone."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.devices import on_host
from dnnlib.ops import checks, stateless_random

SEEDS = np.array([[0, 0], [3, -5], [-(2**63), 2**33], [7, 2**63 - 1]])
DISTRIBUTIONS = {"normal": tf.random.stateless_normal, "uniform": tf.random.stateless_uniform}


@pytest.mark.gpu
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("batch", [4, None])
def test_each_seed_for_itself(live, device, batch, distribution):
    """Also in a graph that does not know how many seeds there will be."""
    with on_host():
        seeds = tf.constant(SEEDS)
        exact = [DISTRIBUTIONS[distribution]([3, 111], seed, alg="philox") for seed in SEEDS]

    def draw(seeds):
        with tf.device(device):  # a graph does not know what is around its function
            return stateless_random(seeds, [3, 111], distribution=distribution)

    traced = tf.function(draw, input_signature=[tf.TensorSpec([batch, 2], tf.int64)])
    assert traced.get_concrete_function().output_shapes == [batch, 3, 111]
    for y in (draw(seeds), traced(seeds)):
        np.testing.assert_allclose(y, exact, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(draw(seeds[2:3])[0], draw(seeds)[2])


class Kernels:
    """Stands in for the kernels of a GPU. words: which word of a seed it takes for the first."""

    def __init__(self, words):
        self.words = words

    def gansformer_stateless_random(self, *, seeds, shape, distribution):
        draw = DISTRIBUTIONS[distribution]
        return [draw(shape, seed.numpy()[self.words], alg="philox") for seed in seeds]


@pytest.mark.parametrize("words, fault", [([0, 1], None), ([1, 0], "differs from its definition")])
def test_wrong_kernels_are_found(monkeypatch, words, fault):
    module = sys.modules[stateless_random.__module__]
    monkeypatch.setattr(module, "current_device", lambda: "GPU")
    example = checks._examples(cuda=True)["stateless_random"]
    found = checks._find_fault(Kernels(words), *example)
    assert found is None if fault is None else found.startswith(fault)
