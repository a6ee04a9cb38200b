"""A tensor in a variable that holds many of them as one matrix (dnnlib.flat)."""

import numpy as np
import tensorflow as tf

from dnnlib.flat import Layout


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
