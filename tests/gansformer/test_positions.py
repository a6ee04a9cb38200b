"""Positional encodings against their formulas."""

import numpy as np
import pytest

from gansformer.canvas import Canvas
from gansformer.positions import GridPositions
from gansformer.variables import Scope


def make(kind: str, *, dim: int = 16, directions: int = 2, crop_ratio: float | None = None):
    options = {"dim": dim, "init": "uniform", "directions": directions}
    return GridPositions(Scope(0), Canvas(16, crop_ratio), kind=kind, **options)


def coordinates(size: int):
    line = np.linspace(-1, 1, size)
    return [(line[column], line[row]) for row in range(size) for column in range(size)]


@pytest.mark.parametrize("directions", [1, 2, 4])
def test_sinusoidal(directions):
    """sin and cos of the coordinate along each direction, at frequencies 10000^(-2ni/d)."""
    expected = []
    for x, y in coordinates(8):
        encoding = []
        for angle in np.arange(directions) * np.pi / directions:
            line = x * np.cos(angle) + y * np.sin(angle)
            frequencies = 10000.0 ** (-2 * directions / 16 * np.arange(16 // (2 * directions)))
            encoding += [*np.sin(line * frequencies), *np.cos(line * frequencies)]
        expected.append(encoding)
    np.testing.assert_allclose(make("sinus", directions=directions)(3), expected, atol=1e-6)


def test_linear():
    positions = make("linear", directions=4)
    embedding = positions.embeddings[2]["emb"].numpy()  # [4, 4]
    angles = np.arange(4) * np.pi / 4
    expected = [
        np.concatenate(
            [(x * np.cos(a) + y * np.sin(a)) * embedding[j] for j, a in enumerate(angles)]
        )
        for x, y in coordinates(4)
    ]
    np.testing.assert_allclose(positions(2), expected, atol=1e-6)


def test_trainable():
    positions = make("trainable")
    columns, rows = (positions.embeddings[2][name].numpy() for name in ("x_emb", "y_emb"))
    expected = [np.concatenate([columns[n], rows[r]]) for r in range(4) for n in range(4)]
    np.testing.assert_array_equal(positions(2), expected)


def test_trainable_for_each_position():
    positions = make("trainable2d")
    expected = positions.embeddings[2]["emb"].numpy().reshape(16, 16)
    np.testing.assert_array_equal(positions(2), expected)


@pytest.mark.parametrize("kind", ["sinus", "linear", "trainable", "trainable2d"])
def test_a_rectangle_is_the_central_rows_of_the_square(kind):
    square, half = make(kind), make(kind, crop_ratio=0.5)
    expected = np.reshape(square(3), [8, 8, -1])[2:6]
    np.testing.assert_array_equal(half(3), expected.reshape(32, -1))
