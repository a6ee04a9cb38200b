"""Many tensors as one: what is computed element by element then takes a few operations for all.

A network has hundreds of variables, most of them small. A GPU would spend its time on starting an
operation for each of them.
"""

import numpy as np
import tensorflow as tf

ROW = 16  # numbers: TensorFlow divides a matrix without a copy if its rows are n x 64 bytes


class Layout:
    """Where each of some float32 tensors is in a matrix [rows, ROW]; each begins in a new row.

    What is left of a tensor's last row is 0 where this module makes the matrix.
    """

    def __init__(self, shapes: list[tf.TensorShape]):
        self.shapes = list(shapes)
        self.sizes = [shape.num_elements() for shape in self.shapes]
        self.rows = [-(-size // ROW) for size in self.sizes]
        self.shape = [sum(self.rows), ROW]

    def join(self, tensors: list[tf.Tensor]) -> tf.Tensor:
        """Return the matrix of these tensors."""
        parts = []
        for tensor, size, rows in zip(tensors, self.sizes, self.rows, strict=True):
            parts.append(tf.reshape(tensor, [-1]))
            if rows * ROW > size:
                parts.append(tf.zeros([rows * ROW - size]))
        return tf.reshape(tf.concat(parts, axis=0) if parts else tf.zeros([0]), self.shape)

    def split(self, matrix: tf.Tensor) -> list[tf.Tensor]:
        """Return the tensors of a matrix; they may share its memory."""
        if not self.shapes:
            return []
        return [self._take(part, number) for number, part in enumerate(tf.split(matrix, self.rows))]

    def rows_of(self, number: int) -> slice:
        """Return the rows of one of the tensors."""
        first = sum(self.rows[:number])
        return slice(first, first + self.rows[number])

    def _take(self, part: tf.Tensor, number: int) -> tf.Tensor:
        size = self.sizes[number]
        if part.shape.num_elements() > size:
            part = tf.reshape(part, [-1])[:size]
        return tf.reshape(part, self.shapes[number])


class PartOfVariable:
    """One of the tensors in a variable that holds a matrix, read and written like a variable."""

    dtype = tf.float32

    def __init__(self, whole: tf.Variable, layout: Layout, number: int, name: str):
        self.whole, self.layout, self.number, self.name = whole, layout, number, name
        self.shape = layout.shapes[number]

    def read_value(self) -> tf.Tensor:
        """Return its value."""
        return self.layout._take(self.whole[self.layout.rows_of(self.number)], self.number)

    def numpy(self) -> np.ndarray:
        """Return a copy of its value."""
        return self.read_value().numpy().copy()

    def assign(self, value: tf.Tensor | np.ndarray) -> None:
        """Replace its value on each device."""
        one = Layout([self.shape])
        value = one.join([tf.convert_to_tensor(value, tf.float32)])
        for variable in getattr(self.whole, "values", (self.whole,)):
            variable[self.layout.rows_of(self.number)].assign(value)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def __tf_tensor__(self, dtype: tf.DType | None = None, name: str | None = None) -> tf.Tensor:
        return tf.convert_to_tensor(self.read_value(), dtype, name=name)
