"""What image positions or latents are compared by: projected features, kept as their factors.

The features X [B, F, C] of an image have many positions F. Their projections are never made: what
is done with these is done to the few columns that they meet.
"""

import tensorflow as tf

from dnnlib.ops import attention_probabilities
from gansformer.layers import Dense


class Elements:
    """X Wx + P Wp + b, in heads, kept as its factors.

    As queries they are what positions are compared by. apart: [X Wx + b | P Wp + bp], 2d wide and
    split into heads after that concatenation, as in the official duplex.
    """

    def __init__(
        self,
        x: tf.Tensor,
        positions: tf.Tensor | None,
        *,
        content: Dense,
        place: Dense | None,
        heads: int,
        apart: bool = False,
    ):
        self.x, self.heads = x, heads
        self.positions = tf.zeros([x.shape[1], 0]) if place is None else positions
        self.content, self.place = content, place
        weight, bias = content.scaled_weight(), content.scaled_bias()
        place_weight = place and place.scaled_weight()
        place_bias = place.scaled_bias() if place else tf.zeros_like(bias)
        if apart:
            weight = tf.concat([weight, tf.zeros_like(weight)], axis=1)  # [C, 2d]
            place_weight = place and tf.concat([tf.zeros_like(place_weight), place_weight], axis=1)
            bias = tf.concat([bias, place_bias], axis=0)
        else:
            bias = bias + place_bias
        self.weight, self.bias = self._heads(weight), self._heads(bias[None])
        self.place_weight = None if place is None else self._heads(place_weight)

    def _heads(self, weight: tf.Tensor) -> tf.Tensor:
        weight = tf.reshape(weight, [weight.shape[0], self.heads, -1])
        return tf.transpose(weight, [1, 0, 2])  # [A, in, h]

    def attend(self, targets: tf.Tensor, scale: float, bias: tf.Tensor | None) -> tf.Tensor:
        """Return softmax(scale * scores + bias) over T, float32 [B, F, A, T].

        targets: [B or 1, A, T, h]; bias: [B, A T] or None.
        """
        weights, offset = self._compare(targets)
        weights, offset = weights * scale, offset * scale
        if bias is not None:
            offset += bias
            weights = tf.broadcast_to(
                weights, tf.concat([tf.shape(bias)[:1], weights.shape[1:]], 0)
            )
        probabilities = attention_probabilities(
            self.x, self.positions, weights, offset, heads=self.heads
        )
        return tf.reshape(probabilities, [-1, self.x.shape[1], self.heads, targets.shape[2]])

    def scores(self, targets: tf.Tensor) -> tf.Tensor:
        """Return the inner products with targets [B, A, T, h], float32 [B, F, A, T]."""
        weights, offset = self._compare(targets)
        content, place = tf.split(weights, [self.x.shape[2], self.positions.shape[1]], axis=2)
        scores = tf.matmul(self.x, tf.cast(content, self.x.dtype), transpose_b=True)
        scores = tf.cast(scores, tf.float32) + offset[:, None]
        scores += tf.matmul(self.positions, place, transpose_b=True)
        return tf.reshape(scores, [-1, self.x.shape[1], *targets.shape[1:3]])

    def _compare(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return weights [B or 1, A T, C + p] and offset [B or 1, A T] of the inner products."""
        weights = _fold(self.weight, targets)
        if self.place_weight is not None:
            weights = tf.concat([weights, _fold(self.place_weight, targets)], axis=2)
        return weights, _fold(self.bias, targets)[:, :, 0]

    def centroids(self, assignment: tf.Tensor) -> tf.Tensor:
        """Return the assigned means of the elements, [B, A, T, h]. assignment: [B, A, T, F]."""
        total = self._means(assignment, tf.cast(self.x, tf.float32), self.weight)
        if self.place_weight is not None:
            total += self._means(assignment, self.positions, self.place_weight)
        mass = tf.reduce_sum(assignment, axis=-1, keepdims=True)  # [B, A, T, 1]
        return total + mass * self.bias  # bias: [A, 1, h]

    def _means(self, assignment: tf.Tensor, x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Project the assigned means of x [B or none, F, C] by weight [A, C, h]: [B, A, T, h]."""
        _, heads, centroids, positions = assignment.shape
        means = tf.matmul(tf.reshape(assignment, [-1, heads * centroids, positions]), x)
        return multiply_heads(tf.reshape(means, [-1, heads, centroids, x.shape[-1]]), weight)

    def project(self) -> tf.Tensor:
        """Return X Wx + P Wp + b itself, [B, F, d]."""
        return project(self.x, self.positions, self.content, self.place)


def project(x: tf.Tensor, positions: tf.Tensor | None, content: Dense, place: Dense | None):
    """Return X W + b [+ P Wp + bp], float32 [B, N, d]."""
    projected = tf.cast(content(x), tf.float32)
    return projected if place is None else projected + place(positions)


def split_heads(x: tf.Tensor, heads: int) -> tf.Tensor:
    """From [B, N, A h] to [B, A, N, h]."""
    x = tf.reshape(x, [-1, x.shape[1], heads, x.shape[2] // heads])
    return tf.transpose(x, [0, 2, 1, 3])


def _fold(weight: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Multiply targets [B, A, T, h] by weight [A, in, h], giving [B, A T, in]."""
    _, heads, columns, _ = targets.shape
    folded = multiply_heads(targets, tf.transpose(weight, [0, 2, 1]))
    return tf.reshape(folded, [-1, heads * columns, weight.shape[1]])


def multiply_heads(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Multiply x [B, A, T, h] by weight [A, h, o] of each head, giving [B, A, T, o]."""
    _, heads, columns, size = x.shape
    if heads > 1:
        return tf.matmul(x, weight)
    flat = tf.matmul(tf.reshape(x, [-1, size]), weight[0])  # one product instead of B small ones
    return tf.reshape(flat, [-1, 1, columns, weight.shape[2]])
