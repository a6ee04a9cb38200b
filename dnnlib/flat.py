"""Many tensors as one: what is computed element by element then takes a few operations for all.

A network has hundreds of variables, most of them small. A GPU would spend its time on starting an
operation for each of them.
"""

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

    def split_stacked(self, matrix: tf.Tensor, counts: list[int]) -> list[tf.Tensor]:
        """Return tensors of a matrix stacked: the first counts[0], which must be equally large,
        as one [counts[0], ...], and so on."""
        if not counts:
            return []
        first = [sum(counts[:n]) for n in range(len(counts))]
        rows = [count * self.rows[n] for count, n in zip(counts, first, strict=True)]
        stacked = []
        for part, count, n in zip(tf.split(matrix, rows), counts, first, strict=True):
            if self.rows[n] * ROW > self.sizes[n]:
                part = tf.reshape(part, [count, -1])[:, : self.sizes[n]]
            stacked.append(tf.reshape(part, [count, *self.shapes[n]]))
        return stacked

    def rows_of(self, number: int) -> slice:
        """Return the rows of one of the tensors."""
        first = sum(self.rows[:number])
        return slice(first, first + self.rows[number])

    def _take(self, part: tf.Tensor, number: int) -> tf.Tensor:
        size = self.sizes[number]
        if part.shape.num_elements() > size:
            part = tf.reshape(part, [-1])[:size]
        return tf.reshape(part, self.shapes[number])
