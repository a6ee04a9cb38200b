"""Editing of latents, against SciPy and NumPy."""

import numpy as np
import pytest
from scipy.spatial import geometric_slerp

import gansformer
from gansformer import editing
from tests.gansformer.conftest import TINY


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_slerp_is_scipys_on_the_sphere():
    first, second = np.float64(draw(6, 5)), np.float64(draw(6, 5, seed=1))
    first, second = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (first, second))
    for t in (0.1, 0.5, 0.9):
        ours = editing.slerp(first[None], second[None], t)[0]
        for a, b, point in zip(first, second, ours, strict=True):
            np.testing.assert_allclose(point, geometric_slerp(a, b, t), atol=1e-5)


@pytest.mark.parametrize("interpolate", [editing.lerp, editing.slerp])
def test_ends_are_exact_and_lengths_between(interpolate):
    first, second = draw(2, 3, 7), 3 * draw(2, 3, 7, seed=1)
    np.testing.assert_array_equal(interpolate(first, second, 0.0), first)
    np.testing.assert_array_equal(interpolate(first, second, 1.0), second)
    assert interpolate(first, second, 0.3).dtype == np.float32
    np.testing.assert_allclose(interpolate(first, first, 0.3), first, atol=1e-6)
    if interpolate is editing.slerp:
        length = lambda x: np.linalg.norm(x, axis=-1)  # noqa: E731
        expected = 0.7 * length(first) + 0.3 * length(second)
        np.testing.assert_allclose(length(interpolate(first, second, 0.3)), expected, rtol=1e-4)
        opposite = interpolate(first, -first, 0.5)
        assert np.isfinite(opposite).all() and np.isfinite(interpolate(0 * first, first, 0.5)).all()


def test_walk_meets_its_points():
    points = [draw(1, 2, 3, seed=seed) for seed in range(3)]
    open_way = list(editing.walk(points, 4, interpolate=editing.lerp))
    closed = list(editing.walk(points, 4, interpolate=editing.lerp, closed=True))
    assert (len(open_way), len(closed)) == (9, 12)
    for i, point in enumerate(points):
        np.testing.assert_array_equal(open_way[4 * i], point)
        np.testing.assert_array_equal(closed[4 * i], point)
    np.testing.assert_allclose(closed[10], (points[2] + points[0]) / 2, atol=1e-6)


def test_mixing():
    w, other = draw(2, 5, 7, 3), draw(1, 5, 7, 3, seed=1)
    mixed = editing.mix_layers(w, other, [0, 6])
    np.testing.assert_array_equal(mixed[:, :, 1:6], w[:, :, 1:6])
    for sample in mixed:
        np.testing.assert_array_equal(sample[:, [0, 6]], other[0][:, [0, 6]])
    np.testing.assert_array_equal(editing.mix_layers(w[:1], other, range(7)), other)
    for latents, source in ((w, other), (w[:, :, 0], other[:, :, 0])):
        mixed = editing.mix_components(latents, source, [4])
        np.testing.assert_array_equal(mixed[:, :4], latents[:, :4])
        np.testing.assert_array_equal(mixed[1, 4], source[0, 4])
    assert (w == draw(2, 5, 7, 3)).all()  # not changed in place


def test_move():
    w, direction = draw(2, 5, 7, 3), draw(3, seed=1)
    moved = editing.move(w, direction, 2.0, components=[1], layers=[2, 3])
    difference = moved - w
    np.testing.assert_allclose(difference[:, 1, 2:4], np.tile(2 * direction, (2, 2, 1)), atol=1e-6)
    difference[:, 1, 2:4] = 0
    assert difference.dtype == np.float32 and not difference.any()
    np.testing.assert_allclose(editing.move(w, direction, -1.0), w - direction, atol=1e-6)


def test_principal_directions_are_those_of_the_singular_values():
    samples = draw(500, 6) * [5, 4, 3, 2, 1, 0.5] @ np.linalg.qr(draw(6, 6, seed=2))[0] + 3
    found = editing.principal_directions(samples, 4)
    centred = samples - samples.mean(axis=0)
    _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(found.strengths, singular[:4] / np.sqrt(499), rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found.vectors * vectors[:4], axis=1)), 1, atol=1e-4)


def test_closed_form_directions_are_left_singular_vectors():
    weights = [draw(6, 9), draw(6, 4, seed=1)]
    found = editing.closed_form_directions(weights, 3)
    vectors, singular, _ = np.linalg.svd(np.concatenate(weights, axis=1))
    np.testing.assert_allclose(found.strengths, singular[:3], rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found.vectors * vectors.T[:3], axis=1)), 1, atol=1e-4)


@pytest.mark.parametrize("attention", ["simplex", "duplex"])
def test_first_weights_say_what_a_step_changes(attention):
    """The strongest direction of the global latent changes the styles of convolutions by its
    strength, as the network itself computes them; more than any other of length 1 does."""
    config = {**TINY, "generator": {**TINY["generator"], "attention": attention}}
    generator, _ = gansformer.build(config, resolution=16)
    layers = range(generator.layers)
    found = editing.closed_form_directions(editing.first_weights(generator, 4, layers), 8)
    network = generator.synthesis_network
    convolutions = [network.first.conv, *(part.conv for b in network.blocks for part in b.layers)]

    def change(step):
        styles = [conv.modulation(step) - conv.modulation(0 * step) for conv in convolutions]
        return np.sqrt(sum(np.sum(np.square(style)) for style in styles))

    for vector, strength in zip(found.vectors, found.strengths, strict=True):
        np.testing.assert_allclose(change(vector[None]), strength, rtol=1e-4)
    random = draw(1, 8)
    assert change(random / np.linalg.norm(random)) < found.strengths[0]
    matrices = editing.first_weights(generator, 0, layers)
    assert len(matrices) == 5 * (2 if attention == "simplex" else 1)
    assert {matrix.shape[0] for matrix in matrices} == {8}
    with pytest.raises(ValueError, match="no image attends"):
        editing.first_weights(generator, 0, [0])
