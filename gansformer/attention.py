"""Bipartite attention between a grid of image features and a set of latents.

Hudson & Zitnick (2021), section 3.1, in the form of the official release. "From" attends: its
features X [B, F, C] are updated. "To" is attended: its features Y [B, T, D] supply the values.

Letters: B batch, F positions of X, T positions of Y, A heads, h head size, C/D/d widths.

Nothing of size F x d is ever made: queries, centroids and values enter through products that are
folded together first. With Q = X Wq + P Wp + b, the scores Q K^T are X (Wq K^T) + P (Wp K^T) +
b K^T; the output (softmax(S) V) Wo is softmax(S) (V Wo). The cost per image position is then
proportional to the number of latents, not to the width d. See elements.py.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from dnnlib.ops import Epilogue, finish_layer, scale_channels
from dnnlib.random_streams import RandomStream
from gansformer.elements import Elements, multiply_heads, project, split_heads
from gansformer.layers import Dense
from gansformer.positions import Places
from gansformer.variables import Scope


class AttentionResult(NamedTuple):
    """What an attention layer gives.

    features:      [B, F, C], the updated X.
    probabilities: [B, F, A, T], softmax over T, times the gates.
    assignment:    [B, A, T, F], the share of each position in each centroid; None in simplex.
    """

    features: tf.Tensor
    probabilities: tf.Tensor
    assignment: tf.Tensor | None


class Attention(tf.Module):
    """One attention layer.

    from_dim, to_dim: widths C of X and D of Y; width: d of queries, keys and values.
    from_position_dim, to_position_dim: widths of the positional terms; None: there are none.
    to_length: T, needed for the learned centroids of duplex attention.
    centroids: None (simplex: positions compare themselves with the keys of Y), or duplex: in the
      released form "learned" (compare with learned centroids), "queries" (centroids start as the
      queries of the positions) or "carried" (centroids of the previous layer's assignment), in the
      paper's form "attended" (what Y collects from X by attention).
    integration: "add" X + o, "mul" X (1 + o), "both" X (1 + o1) + o2; o is the attention's output.
    norm: X is normalised first, without learned scale: over positions ("instance"), over features
      ("layer", "batch") or not. add centres only, mul divides by the RMS only, both does both.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        from_dim: int,
        to_dim: int,
        width: int,
        from_position_dim: int | None = None,
        to_position_dim: int | None = None,
        to_length: int = 0,
        centroids: str | None = None,
        iterations: int = 1,
        heads: int = 1,
        integration: str = "add",
        norm: str = "none",
        from_gate: bool = False,
        to_gate: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} does not divide into {heads} heads")
        self.width, self.heads, self.head_size = width, heads, width // heads
        self.integration, self.norm, self.dropout = integration, norm, dropout
        self.centroids, self.iterations = centroids, iterations
        self.clusters = centroids not in (None, "attended")
        self.query = Dense(scope, from_dim, width, suffix="_query")
        self.key = self.collect = None
        if centroids == "attended":
            places = (from_position_dim, to_position_dim)
            self.collect = _Collect(scope / "Centroids", from_dim, to_dim, width, heads, *places)
        else:
            self.key = Dense(scope, to_dim, width, suffix="_key")
        self.value = Dense(scope, to_dim, width, suffix="_value")
        self.from_position = _optional_dense(scope, from_position_dim, width, "_from_pos")
        self.to_position = None
        if self.key is not None:
            self.to_position = _optional_dense(scope, to_position_dim, width, "_to_pos")
        self._make_centroids(scope, to_length)
        self.to_gate = to_gate and _Gate(scope, to_dim, to_position_dim, heads, "e")
        self.from_gate = from_gate and _Gate(scope, from_dim, from_position_dim, heads, "n")
        self.out = Dense(
            scope, width, from_dim * (2 if integration == "both" else 1), suffix="_out"
        )

    def _make_centroids(self, scope: Scope, to_length: int) -> None:
        self.learned_centroids = self.queries_to_centroids = None
        self.score_weights = []
        if not self.clusters:
            return
        if self.centroids == "learned":
            shape = [1, self.heads, to_length, 2 * self.head_size]
            self.learned_centroids = scope.normal("toasgn_init", shape)
        if self.centroids == "queries":
            self.queries_to_centroids = Dense(scope, self.width, 2 * self.width, suffix="_key2")
        self.score_weights = [
            (scope / f"iter_{i}").full("st_weights", [self.heads, 1, 2 * self.head_size], 1.0)
            for i in range(self.iterations)
        ]

    def __call__(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        *,
        from_positions: Places | tf.Tensor | None = None,
        to_positions: Places | tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
        assignment: tf.Tensor | None = None,
        scale: tf.Tensor | None = None,
        epilogue: Epilogue | None = None,
        random: RandomStream | None = None,
    ) -> AttentionResult:
        """Update x [B, F, C] from y [B, T, D].

        from_positions: [F, p], to_positions: [T, p']. mask: [B, T], 1 keeps and 0 hides a column.
        assignment: [B, A, T, F] for centroids="carried". scale: [B, C], what x is to be multiplied
        by first. epilogue: what is to be done with the result. random: given in training, for
        dropout.
        """
        is_gain = self._is_gain(random)
        if scale is not None and not (is_gain and self.collect is None):
            x, scale = scale_channels(x, scale), None
        elements = Elements(
            x,
            from_positions,
            content=self.query,
            place=self.from_position,
            heads=self.heads,
            apart=self.clusters,
            scale=scale,
        )
        bias = None if mask is None else tf.tile((1.0 - mask) * -10000.0, [1, self.heads])
        if not self.clusters:
            if self.collect is None:
                keys = self._keys(y, to_positions)  # [B, A, T, h]
            else:
                keys = self.collect(x, y, from_positions, to_positions)  # [B, A, T, h]
            # The official code rescales once for each iteration.
            comparison = keys, self.head_size ** (-self.iterations / 2), bias
        else:
            # [B or 1, A, T, 2h]
            centroids = self._last_centroids(elements, assignment, bias, random)
            random = random and random.fold(f"iteration{self.iterations - 1}")
            comparison = centroids, self.head_size**-0.5, bias
        values = self._values(y)
        if is_gain:
            plus_one = values + tf.one_hot([values.shape[1] - 1], values.shape[1])[:, :, None]
            features, probabilities = elements.attend_gain(
                *comparison, plus_one, normalize=self.norm != "none", epilogue=epilogue
            )
        else:
            probabilities = self._dropout(elements.attend(*comparison), random)  # [B, F, A, T]
            if self.to_gate:
                gate = self.to_gate(y, to_positions, 0.0)  # [B, T, A]
                probabilities *= tf.transpose(gate, [0, 2, 1])[:, None]
            if self.from_gate:
                probabilities *= self.from_gate(x, from_positions, 1.0)[..., None]  # [B, F, A, 1]
            features = self._integrate(x, probabilities, values)
            features = features if epilogue is None else finish_layer(features, epilogue)
        assignment = _assign(probabilities) if self.clusters else None
        return AttentionResult(features, probabilities, assignment)

    def _is_gain(self, random: RandomStream | None) -> bool:
        """Whether x is multiplied only, position by position, by what the softmax itself gives."""
        gated = self.to_gate or self.from_gate or (random is not None and self.dropout)
        return self.integration == "mul" and self.norm != "instance" and not gated

    def _keys(self, y: tf.Tensor, to_positions: tf.Tensor | None) -> tf.Tensor:
        return split_heads(project(y, to_positions, self.key, self.to_position), self.heads)

    def _first_centroids(self, elements, assignment: tf.Tensor | None) -> tf.Tensor:
        if self.centroids == "learned":
            return tf.convert_to_tensor(self.learned_centroids)
        if self.centroids == "carried":
            return elements.centroids(assignment)
        centroids = self.queries_to_centroids(elements.project())  # [B, F = T, 2d]
        return split_heads(centroids, self.heads)  # [B, A, T, 2h]

    def _last_centroids(self, elements, assignment: tf.Tensor | None, bias, random) -> tf.Tensor:
        """Return the weighted centroids of the last iteration."""
        centroids = self._first_centroids(elements, assignment) * self.score_weights[0]
        for iteration, weights in enumerate(self.score_weights[1:]):
            probabilities = elements.attend(centroids, self.head_size**-0.5, bias)
            stream = random and random.fold(f"iteration{iteration}")
            probabilities = self._dropout(probabilities, stream)
            centroids = elements.centroids(_assign(probabilities)) * weights
        return centroids

    def _dropout(self, probabilities: tf.Tensor, random: RandomStream | None) -> tf.Tensor:
        """Drop single probabilities, and whole columns of a head, each at half the rate."""
        if random is None or not self.dropout:
            return probabilities
        _, positions, heads, columns = probabilities.shape
        keep = 1 - self.dropout / 2
        for name, shape in (
            ("element", [positions, heads, columns]),
            ("column", [1, heads, columns]),
        ):
            kept = random.fold(name).uniform(shape) < keep
            probabilities *= tf.cast(kept, probabilities.dtype) / keep
        return probabilities

    def _integrate(self, x, probabilities: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Normalise x and add, multiply by, or both, the control o = concat_heads(P V) Wo + bo."""
        probabilities = tf.reshape(probabilities, [-1, probabilities.shape[1], values.shape[1] - 1])
        left = tf.concat([probabilities, tf.ones_like(probabilities[:, :, :1])], axis=2)
        control = tf.matmul(tf.cast(left, x.dtype), tf.cast(values, x.dtype))
        mean, inverse = statistics(x, norm=self.norm, integration=self.integration)
        if mean is not None:
            x -= tf.cast(mean, x.dtype)
        if inverse is not None:
            x *= tf.cast(inverse, x.dtype)
        if self.integration == "add":
            return x + control
        if self.integration == "mul":
            return x * (control + 1)
        gain, shift = tf.split(control, 2, axis=2)
        return x * (gain + 1) + shift

    def _values(self, y: tf.Tensor) -> tf.Tensor:
        """Return V Wo for each head, and bo as the last row: float32 [B, A T + 1, outputs]."""
        columns = y.shape[1]
        values = tf.cast(self.value(y), tf.float32)
        values = tf.reshape(values, [-1, columns, self.heads, self.head_size])
        weight = tf.reshape(self.out.scaled_weight(), [self.heads, self.head_size, -1])
        values = multiply_heads(tf.transpose(values, [0, 2, 1, 3]), weight)  # [B, A, T, C]
        values = tf.reshape(values, [-1, self.heads * columns, weight.shape[-1]])
        bias = tf.tile(self.out.scaled_bias()[None, None], [tf.shape(values)[0], 1, 1])
        return tf.concat([values, bias], axis=1)


class _Collect(tf.Module):
    """K = a(Y, X), Hudson & Zitnick (2021), Eqs. 5-8: what each latent collects from the positions.

    softmax(q(Y) k(X)^T / sqrt(h)) v(X), the softmax over positions; X and Y with their positional
    terms. K [B, A, T, h] stands where the positions that attend to Y find its keys.
    """

    def __init__(
        self,
        scope: Scope,
        from_dim: int,
        to_dim: int,
        width: int,
        heads: int,
        from_position_dim: int | None,
        to_position_dim: int | None,
    ):
        super().__init__()
        self.heads, self.head_size = heads, width // heads
        self.query = Dense(scope, to_dim, width, suffix="_query")
        self.key = Dense(scope, from_dim, width, suffix="_key")
        self.value = Dense(scope, from_dim, width, suffix="_value")
        self.query_position = _optional_dense(scope, to_position_dim, width, "_query_pos")
        self.key_position = _optional_dense(scope, from_position_dim, width, "_key_pos")
        self.value_position = _optional_dense(scope, from_position_dim, width, "_value_pos")

    def __call__(self, x, y, from_positions, to_positions) -> tf.Tensor:
        """x: [B, F, C], y: [B, T, D] -> [B, A, T, h]."""
        queries = project(y, to_positions, self.query, self.query_position)
        queries = split_heads(queries, self.heads)  # [B, A, T, h]
        keys, values = (
            Elements(x, from_positions, content=content, place=place, heads=self.heads)
            for content, place in (
                (self.key, self.key_position),
                (self.value, self.value_position),
            )
        )
        scores = keys.scores(queries) / math.sqrt(self.head_size)  # [B, F, A, T]
        return values.centroids(tf.nn.softmax(tf.transpose(scores, [0, 2, 3, 1])))


class _Gate(tf.Module):
    """sigmoid(X W + b [+ P Wp + bp] + offset): one factor for each position and head."""

    def __init__(self, scope: Scope, dim: int, position_dim: int | None, heads: int, name: str):
        super().__init__()
        self.content = Dense(scope, dim, heads, suffix=f"_{name}_cont")
        self.position = _optional_dense(scope, position_dim, heads, f"_{name}_pos")

    def __call__(self, x: tf.Tensor, positions: tf.Tensor | None, offset: float) -> tf.Tensor:
        """x: [B, N, dim], positions: [N, p] or None -> float32 [B, N, A]."""
        logits = tf.cast(self.content(x), tf.float32) + offset
        if self.position is not None:
            logits += self.position(Places.of(positions).encodings())
        return tf.sigmoid(logits)


def statistics(
    x: tf.Tensor, *, norm: str, integration: str
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """Return what normalisation subtracts from x [B, F, C], and what it then multiplies by.

    Both are float32 [B, F, 1] ("layer", "batch": over features) or [B, 1, C] ("instance": over
    positions), or None. "add" subtracts the mean only, "mul" divides by the root mean square only,
    "both" divides by the standard deviation.
    """
    if norm == "none":
        return None, None
    axis = 1 if norm == "instance" else -1
    mean = scale = None
    if integration != "mul":
        mean = tf.cast(tf.reduce_mean(x, axis=axis, keepdims=True), tf.float32)
    if integration != "add":
        centred = x if mean is None else x - tf.cast(mean, x.dtype)
        power = tf.reduce_mean(tf.square(centred), axis=axis, keepdims=True)
        scale = tf.math.rsqrt(tf.cast(power, tf.float32) + 1e-8)
    return mean, scale


def normalize_layer(x: tf.Tensor) -> tf.Tensor:
    """LayerNorm without learned scale: x [B, F, C] with mean 0 and variance 1 over its features."""
    mean, scale = statistics(x, norm="layer", integration="both")
    return (x - mean) * scale


def upsample_assignment(assignment: tf.Tensor, grid: tuple[int, int]) -> tf.Tensor:
    """Repeat an assignment [B, A, T, F'] of a grid of half the size, giving [B, A, T, F]."""
    rows, columns = grid
    _, heads, centroids, positions = assignment.shape
    if positions == rows * columns:
        return assignment
    small = tf.reshape(assignment, [-1, heads, centroids, rows // 2, columns // 2])
    large = tf.repeat(tf.repeat(small, 2, axis=3), 2, axis=4)
    return tf.reshape(large, [-1, heads, centroids, rows * columns])


def _assign(probabilities: tf.Tensor) -> tf.Tensor:
    """From P [B, F, A, T] to each column's shares of the positions, [B, A, T, F]."""
    columns = tf.transpose(probabilities, [0, 2, 3, 1])
    return columns / (tf.reduce_sum(columns, axis=-1, keepdims=True) + 1e-8)


def _optional_dense(scope: Scope, inputs: int | None, outputs: int, suffix: str) -> Dense | None:
    return None if inputs is None else Dense(scope, inputs, outputs, suffix=suffix)
