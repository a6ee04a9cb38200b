"""Many tensors as one matrix, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.flat import ROW, Layout
from training.flat import PartOfVariable

SHAPES = [[3, 3, 16, 2], [], [0, 4], [5], [ROW], [2, 7]]


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in SHAPES]


@pytest.fixture
def layout():
    return Layout([tf.TensorShape(shape) for shape in SHAPES])


def test_stacked_parts():
    draw = np.random.default_rng(1)
    lists = [
        [draw.standard_normal(shape).astype(np.float32) for _ in range(count)]
        for shape, count in (([2, 7], 3), ([16, 4], 2), ([5], 1))
    ]
    layout = Layout([tf.TensorShape(array.shape) for arrays in lists for array in arrays])
    matrix = layout.join([tf.constant(array) for arrays in lists for array in arrays])
    stacked = layout.split_stacked(matrix, [3, 2, 1])
    for tensor, arrays in zip(stacked, lists, strict=True):
        np.testing.assert_array_equal(tensor, np.stack(arrays))


def test_join_and_split(arrays, layout):
    matrix = layout.join([tf.constant(array) for array in arrays])
    assert matrix.shape == layout.shape and matrix.shape[1] == ROW
    numbers = np.concatenate([array.reshape(-1) for array in arrays])
    np.testing.assert_array_equal(np.sort(matrix.numpy()[matrix != 0]), np.sort(numbers))
    for part, array in zip(layout.split(matrix), arrays, strict=True):
        np.testing.assert_array_equal(part, array)


def test_nothing():
    layout = Layout([])
    assert layout.join([]).shape == [0, ROW] and layout.split(tf.zeros([0, ROW])) == []


def test_parts_of_a_variable(arrays, layout):
    whole = tf.Variable(layout.join([tf.constant(array) for array in arrays]))
    parts = [PartOfVariable(whole, layout, n, f"part{n}") for n in range(len(arrays))]
    for part, array in zip(parts, arrays, strict=True):
        assert part.shape == array.shape
        np.testing.assert_array_equal(part.numpy(), array)
        np.testing.assert_array_equal(tf.reshape(part, [-1]), array.reshape(-1))
    parts[5].assign(-arrays[5])
    np.testing.assert_array_equal(parts[5], -arrays[5])
    for part, array in zip(parts[:5], arrays[:5], strict=True):
        np.testing.assert_array_equal(part, array)
    assert (whole.numpy()[-1] == 0).sum() == ROW - arrays[5].size


def test_a_part_is_written_on_each_replica():
    """In a process of two devices; see test_replicas for whole runs."""
    layout = Layout([tf.TensorShape([2]), tf.TensorShape([3])])

    class Mirrored:
        """As tf.distribute has it: the copies are in `values`."""

        values = [tf.Variable(tf.zeros(layout.shape)) for _ in range(2)]

    PartOfVariable(Mirrored(), layout, 1, "b").assign([1.0, 2.0, 3.0])
    for copy in Mirrored.values:
        np.testing.assert_array_equal(layout.split(copy)[1], [1, 2, 3])
