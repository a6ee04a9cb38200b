"""What a generator promises: pictures are functions of their inputs, and of nothing else."""

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from gansformer.generation import Sampler, latents
from gansformer.variables import variables_by_name
from tests.gansformer.conftest import TINY


def root_mean_square(x) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def test_two_latents_give_two_images(tiny_generator):
    z = latents(tiny_generator, [1, 2])
    images = tiny_generator(z, noise="const").images.numpy()
    assert np.abs(images[0] - images[1]).mean() > 0.05


def test_picture_does_not_depend_on_the_batch(tiny_generator):
    z = latents(tiny_generator, range(5))
    together = tiny_generator(z, seed=tf.range(5), psi=0.7).images.numpy()
    alone = [tiny_generator(z[i : i + 1], seed=i, psi=0.7).images.numpy()[0] for i in range(5)]
    difference = together - alone
    # Matrix products of other shapes round differently, in single pixels ten times as much.
    assert root_mean_square(difference) < 5e-6 * root_mean_square(together)
    assert np.abs(difference).max() < 5e-5 * np.abs(together).max()


def test_noise_modes(tiny_generator):
    for variable in variables_by_name(tiny_generator).values():
        if "noise_strength" in variable.name:
            variable.assign(0.5)
    z = latents(tiny_generator, [7])
    make = lambda **options: tiny_generator(z, **options).images.numpy()  # noqa: E731
    np.testing.assert_array_equal(make(seed=1), make(seed=1))
    np.testing.assert_array_equal(make(noise="const"), make(noise="const"))
    distinct = [make(seed=1), make(seed=2), make(), make(), make(noise="const"), make(noise="none")]
    for i, first in enumerate(distinct):
        for second in distinct[:i]:
            assert np.abs(first - second).max() > 1e-3


def test_attention_maps_are_shares(tiny_generator):
    out = tiny_generator(latents(tiny_generator, [0, 1]), return_attention=True)
    assert [maps.shape for maps in out.attention] == [
        (2, 1, size, size, 4) for size in (4, 8, 8, 16, 16)
    ]
    for maps in out.attention:
        np.testing.assert_allclose(tf.reduce_sum(maps, -1), 1, atol=1e-5)
    assert tiny_generator(latents(tiny_generator, [0])).attention is None


def test_sampler_equals_direct_evaluation(tiny_generator):
    sampler = Sampler(tiny_generator, psi=0.5)
    ((seeds, out),) = sampler.batches([4, 9, 11])
    z = latents(tiny_generator, seeds)
    direct = tiny_generator(z, psi=0.5, seed=tf.constant(seeds))
    np.testing.assert_allclose(out.images, direct.images, atol=1e-5)
    (_, (_, last)) = list(sampler.batches(range(100, 109)))  # a batch of 8 and a padded one of 1
    ((_, alone),) = sampler.batches([108])
    np.testing.assert_array_equal(last.images, alone.images)


def test_initial_statistics(tiny_generator):
    """Normalised inputs stay of order one through mapping and synthesis (users.md, number 15)."""
    z = latents(tiny_generator, range(64))
    w = tiny_generator.mapping(z).numpy()
    assert 0.1 < w[:, :-1].std() < 3
    assert 0.1 < tiny_generator(z, noise="none").images.numpy().std() < 5


def test_variables_depend_on_seed_and_name_only():
    first, _ = gansformer.build(TINY, resolution=16, seed=3)
    again, _ = gansformer.build(TINY, resolution=32, seed=3)  # more layers, other order of making
    other, _ = gansformer.build(TINY, resolution=16, seed=4)
    name = "G_synthesis/8x8/Conv1/weight"
    weights = [variables_by_name(g)[name].numpy() for g in (first, again, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).mean() > 0.5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda g: g(tf.zeros([1, 5, 9])), r"z has shape \(1, 5, 9\)"),
        (lambda g: g(tf.zeros([1, 8])), "this generator needs"),
        (lambda g: g(tf.zeros([1, 5, 8]), noise="fresh"), "noise mode 'fresh'"),
        (lambda g: g.synthesis(tf.zeros([1, 5, 2, 8])), "w has shape"),
    ],
)
def test_wrong_inputs(tiny_generator, call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny_generator)


def test_summary_counts_all_parameters(tiny_networks, capsys):
    for network in tiny_networks:
        network.summary()
        lines = capsys.readouterr().out.splitlines()
        total = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        assert f"{total:,}" in lines[-1]
        layers = {line.split()[0] for line in lines[2:-3]}
        for name in variables_by_name(network):
            if name.endswith(("/weight", "/mod_weight")):
                scope = name.rpartition("/")[0]
                assert scope in layers or scope.removesuffix("/extraLayer") in layers


def test_bfloat16_stays_close(tiny_generator):
    from gansformer.generator import Generator

    half = Generator(tiny_generator.config, resolution=16, dtype=tf.bfloat16)
    for name, variable in variables_by_name(half).items():
        variable.assign(variables_by_name(tiny_generator)[name])
    z = latents(tiny_generator, range(4))
    exact, rounded = (g(z, noise="const").images.numpy() for g in (tiny_generator, half))
    assert np.abs(exact - rounded).mean() < 0.02 * exact.std()
    assert np.abs(exact - rounded).max() > 0
