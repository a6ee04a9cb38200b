"""What image positions or latents are compared by: projected features, kept as their factors.

The features X [B, F, C] of an image have many positions F. Their projections are never made: what
is done with these is done to the few targets that they meet.
"""

import tensorflow as tf

from dnnlib.ops import Epilogue, attention_gain, attention_probabilities, scale_channels
from gansformer.layers import Dense
from gansformer.positions import Places


class Elements:
    """X Wx + P Wp + b, in heads, kept as its factors.

    scale: [B, C] or None, what x is to be multiplied by first. As queries elements are what
    positions are compared by. apart: [X Wx + b | P Wp + bp], 2d wide and split into heads after
    that concatenation, as in the official duplex.
    """

    def __init__(
        self,
        x: tf.Tensor,
        positions: Places | tf.Tensor | None,
        *,
        content: Dense,
        place: Dense | None,
        heads: int,
        apart: bool = False,
        scale: tf.Tensor | None = None,
    ):
        self.x, self.scale, self.heads = x, scale, heads
        self.places = Places.of(tf.zeros([x.shape[1], 0]) if place is None else positions)
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

    def attend(self, targets: tf.Tensor, factor: float, bias: tf.Tensor | None) -> tf.Tensor:
        """Return softmax(factor * scores + bias) over T, float32 [B, F, A, T].

        targets: [B or 1, A, T, h]; bias: [B, A T] or None.
        """
        comparison = self._compare_with_bias(targets * factor, bias)
        probabilities = attention_probabilities(self.x, *comparison, heads=self.heads)
        return self._by_head(probabilities)

    def attend_gain(
        self,
        targets: tf.Tensor,
        factor: float,
        bias: tf.Tensor | None,
        values: tf.Tensor,
        *,
        normalize: bool,
        epilogue: Epilogue | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return X ([P | 1] values) [B, F, C] and P, what `attend` returns.

        values: [B, A T + 1, C]. normalize: divide X by its root mean square over C. epilogue: what
        follows, or None.
        """
        comparison = self._compare_with_bias(targets * factor, bias)
        scale = self.scale
        if scale is None:
            scale = tf.ones([tf.shape(self.x)[0], self.x.shape[2]])
        options = {"heads": self.heads, "normalize": normalize, "epilogue": epilogue}
        features, probabilities = attention_gain(self.x, *comparison, scale, values, **options)
        return features, self._by_head(probabilities)

    def _by_head(self, probabilities: tf.Tensor) -> tf.Tensor:
        _, positions, columns = probabilities.shape
        return tf.reshape(probabilities, [-1, positions, self.heads, columns // self.heads])

    def _compare_with_bias(self, targets, bias: tf.Tensor | None) -> list[tf.Tensor]:
        """Return what `_compare` returns, for B samples, the bias being part of it."""
        weights, rows, columns = self._compare(targets)
        if bias is not None:
            columns += bias[:, None]
        batch = tf.shape(self.x)[0]
        return [
            tensor if tensor.shape[0] != 1 else tf.broadcast_to(tensor, [batch, *tensor.shape[1:]])
            for tensor in (weights, rows, columns)
        ]

    def scores(self, targets: tf.Tensor) -> tf.Tensor:
        """Return the inner products with targets [B, A, T, h], float32 [B, F, A, T]."""
        weights, rows, columns = self._compare(targets)
        scores = tf.matmul(self.x, tf.cast(weights, self.x.dtype), transpose_b=True)
        places = rows[:, :, None] + columns[:, None]  # [B, R, N, A T]
        scores = tf.cast(scores, tf.float32) + tf.reshape(places, tf.shape(scores))
        return tf.reshape(scores, [-1, self.x.shape[1], *targets.shape[1:3]])

    def _compare(self, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return what the inner products consist of, each for B samples or for 1.

        Weights [B, A T, C] of x, and scores [B, R, A T] of the grid's rows and [B, N, A T] of its
        columns.
        """
        weights = _fold(self.weight, targets)
        if self.scale is not None:
            weights *= self.scale[:, None]
        offset = _fold(self.bias, targets)[:, None, :, 0]  # [B, 1, A T]
        rows, columns = self.places.rows, self.places.columns
        if self.place_weight is None:
            zeros = tf.zeros([1, rows.shape[0], weights.shape[1]])
            return weights, zeros, offset
        of_columns, of_rows = tf.split(
            _fold(self.place_weight, targets), [columns.shape[1], rows.shape[1]], axis=2
        )
        row_scores = tf.matmul(rows, of_rows, transpose_b=True)
        return weights, row_scores, tf.matmul(columns, of_columns, transpose_b=True) + offset

    def centroids(self, assignment: tf.Tensor) -> tf.Tensor:
        """Return the assigned means of the elements, [B, A, T, h]. assignment: [B, A, T, F]."""
        means = _means(assignment, tf.cast(self.x, tf.float32))
        if self.scale is not None:
            means *= self.scale[:, None, None]
        total = multiply_heads(means, self.weight)
        if self.place_weight is not None:
            total += multiply_heads(_means(assignment, self.places.encodings()), self.place_weight)
        mass = tf.reduce_sum(assignment, axis=-1, keepdims=True)  # [B, A, T, 1]
        return total + mass * self.bias  # bias: [A, 1, h]

    def project(self) -> tf.Tensor:
        """Return X Wx + P Wp + b itself, [B, F, d]."""
        x = self.x if self.scale is None else scale_channels(self.x, self.scale)
        return project(x, self.places, self.content, self.place)


def project(
    x: tf.Tensor, positions: Places | tf.Tensor | None, content: Dense, place: Dense | None
):
    """Return X W + b [+ P Wp + bp], float32 [B, N, d]."""
    projected = tf.cast(content(x), tf.float32)
    return projected if place is None else projected + place(Places.of(positions).encodings())


def split_heads(x: tf.Tensor, heads: int) -> tf.Tensor:
    """From [B, N, A h] to [B, A, N, h]."""
    x = tf.reshape(x, [-1, x.shape[1], heads, x.shape[2] // heads])
    return tf.transpose(x, [0, 2, 1, 3])


def _means(assignment: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Return the assigned means of x [B or none, F, C]: [B, A, T, C]."""
    _, heads, centroids, positions = assignment.shape
    means = tf.matmul(tf.reshape(assignment, [-1, heads * centroids, positions]), x)
    return tf.reshape(means, [-1, heads, centroids, x.shape[-1]])


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
