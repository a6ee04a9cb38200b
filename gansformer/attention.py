"""Bipartite attention, Hudson & Zitnick (2021), section 3.1, in plain TensorFlow.

X [B, N, C] attends to Y [B, K, D] and is updated. In a generator X is an image, one element for
each of its N positions, and Y its K components. With learned linear maps q, k, v of X and Y:

            a(X, Y)   = softmax(q(X) k(Y)^T / sqrt(h)) v(Y)
    Eq. 5   u^a(X, Y) = LayerNorm(X + a(X, Y))                        transformer
    Eq. 6   u^s(X, Y) = gamma(a(X, Y)) * omega(X) + beta(a(X, Y))     simplex: `Attention`
    Eq. 7   K         = a(Y, X)                                       centroids of X, one for each
                                                                      component: the keys of Y
    Eq. 8   u^d(X, Y) = gamma(A) * omega(X) + beta(A),                duplex: `DuplexAttention`
            A         = softmax(q(X) K^T / sqrt(h)) v(Y)

The duplex of the official release is another one: its centroids come from k-means steps that start
from learned centroids: `KMeansAttention`. docs/fidelity.md compares the two.

Letters: A heads, h size of a head, d = A h. fused.py does the same in fewer operations.
"""

import tensorflow as tf

from dnnlib.errors import UserError
from gansformer.layers import Dense, dropout, normalize_rms
from gansformer.summary import shown
from gansformer.variables import Scope


def attend(queries, keys, mask=None, *, scale: float | None = None) -> tf.Tensor:
    """Return softmax(Q K^T / sqrt(h)): how much each element of X attends to each of Y.

    queries: [B, A, N, h], keys: [B, A, K, h], mask: [B, K], 0 hides an element of Y.
    scale: instead of 1 / sqrt(h). Returns float32 [B, A, N, K].
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    scores = tf.matmul(queries, keys, transpose_b=True) * scale  # [B, A, N, K]
    if mask is not None:
        scores += (1 - mask[:, None, None]) * -10000.0
    return tf.nn.softmax(scores)


def integrate(x: tf.Tensor, control: tf.Tensor, *, integration: str, norm: str) -> tf.Tensor:
    """Return gamma * omega(X) + beta, as in Eq. 6 and Eq. 8.

    x: [B, N, C], control: a(X, Y) [B, N, C]. integration: "add" makes the control beta (gamma is
    1), "mul" makes it gamma - 1 (beta is 0); "both": it is [B, N, 2C] and holds gamma - 1 and beta.
    """
    x = normalize(x, integration=integration, norm=norm)
    if integration == "add":
        return x + control
    if integration == "mul":
        return x * (1 + control)
    gain, bias = tf.split(control, 2, axis=2)
    return x * (1 + gain) + bias


def normalize(x: tf.Tensor, *, integration: str = "both", norm: str = "layer") -> tf.Tensor:
    """Return omega(X) [B, N, C], without learned scale. By default this is LayerNorm.

    norm: over the features of an element ("layer", "batch"), over elements ("instance") or not at
    all ("none"). "add" only centres, "mul" only divides by the root mean square, "both" does both.
    """
    if norm == "none":
        return x
    axis = 1 if norm == "instance" else -1
    if integration != "mul":
        x -= tf.reduce_mean(x, axis=axis, keepdims=True)
    if integration != "add":
        x = normalize_rms(x, axis)
    return x


def split_heads(x: tf.Tensor, heads: int) -> tf.Tensor:
    """From [B, N, A h] to [B, A, N, h]."""
    x = tf.reshape(x, [-1, x.shape[1], heads, x.shape[2] // heads])
    return tf.transpose(x, [0, 2, 1, 3])


class Projection(tf.Module):
    """q, k or v: X W + b, and + P W' + b' where the elements have positional encodings P."""

    def __init__(self, scope: Scope, dim: int, position_dim: int | None, width: int, *names: str):
        super().__init__()
        self.content = Dense(scope, dim, width, suffix=names[0])
        self.position = None
        if position_dim is not None:
            self.position = Dense(scope, position_dim, width, suffix=names[1])

    def __call__(self, x: tf.Tensor, positions: tf.Tensor | None) -> tf.Tensor:
        """x: [B, N, dim], positions: [N, p] -> [B, N, width]."""
        content = self.content(x)
        return content if self.position is None else content + self.position(positions)


class Attention(tf.Module):
    """Simplex attention, Eq. 6. With integration "add" and norm "none": X := X + a(X, Y).

    x, y: (width of the elements, width of their positional encodings or None, whether they have a
      gate: a learned sigmoid that multiplies what an element of X receives, or one of Y sends).
    width: d. integration, norm: see `integrate`. dropout: of the probabilities, in training.
    iterations: how many times the scores are divided by sqrt(h), a habit of the release.
    """

    has_keys = True

    def __init__(
        self,
        scope: Scope,
        x: tuple[int, int | None, bool],
        y: tuple[int, int | None, bool],
        *,
        width: int,
        heads: int = 1,
        iterations: int = 1,
        integration: str = "add",
        norm: str = "none",
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % heads:
            raise UserError(
                f"heads={heads}: attention of width {width} does not divide into so many; "
                "choose one that divides the channels of every layer with attention"
            )
        self.heads, self.head_size, self.iterations = heads, width // heads, iterations
        self.integration, self.norm, self.dropout = integration, norm, dropout
        self.query = Projection(scope, *x[:2], width, "_query", "_from_pos")
        self.key = None
        if self.has_keys:
            self.key = Projection(scope, *y[:2], width, "_key", "_to_pos")
        self.value = Dense(scope, y[0], width, suffix="_value")
        self.x_gate = Projection(scope, *x[:2], heads, "_n_cont", "_n_pos") if x[2] else None
        self.y_gate = Projection(scope, *y[:2], heads, "_e_cont", "_e_pos") if y[2] else None
        self.out = Dense(scope, width, x[0] * (2 if integration == "both" else 1), suffix="_out")

    @shown
    def __call__(
        self, x, y, *, x_positions=None, y_positions=None, mask=None, previous=None, random=None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return x [B, N, C], updated from y [B, K, D], and probabilities with gates, [B, A, N, K].

        x_positions: [N, p], y_positions: [K, p']. mask: [B, K], 0 hides an element of y.
        previous: [B, A, H', W', K], probabilities of the layer before. random: for dropout.
        """
        dtype, x, y = x.dtype, tf.cast(x, tf.float32), tf.cast(y, tf.float32)  # so all is, inside
        arguments = x, y, x_positions, y_positions
        probabilities = self.probabilities(*arguments, mask, previous, random)  # [B, A, N, K]
        if self.y_gate is not None:
            gate = tf.sigmoid(self.y_gate(y, y_positions))  # [B, K, A]
            probabilities *= tf.transpose(gate, [0, 2, 1])[:, :, None]
        if self.x_gate is not None:
            gate = tf.sigmoid(self.x_gate(x, x_positions) + 1)  # [B, N, A]
            probabilities *= tf.transpose(gate, [0, 2, 1])[..., None]
        values = split_heads(self.value(y), self.heads)  # [B, A, K, h]
        attended = tf.transpose(probabilities @ values, [0, 2, 1, 3])  # [B, N, A, h]
        attended = tf.reshape(attended, [-1, x.shape[1], self.heads * self.head_size])
        control = self.out(attended)  # a(X, Y): [B, N, C or 2C]
        x = integrate(x, control, integration=self.integration, norm=self.norm)
        return tf.cast(x, dtype), probabilities

    def probabilities(self, x, y, x_positions, y_positions, mask, previous, random) -> tf.Tensor:
        """Return how much each element of X attends to each of Y, [B, A, N, K]."""
        queries = split_heads(self.query(x, x_positions), self.heads)  # [B, A, N, h]
        keys = split_heads(self.key(y, y_positions), self.heads)  # [B, A, K, h]
        scale = self.head_size ** (-self.iterations / 2)
        return dropout(attend(queries, keys, mask, scale=scale), self.dropout, random)


class DuplexAttention(Attention):
    """The paper's duplex attention, Eq. 8: X compares itself with centroids K = a(Y, X), Eq. 7."""

    has_keys = False

    def __init__(self, scope: Scope, x: tuple, y: tuple, *, width: int, **options):
        super().__init__(scope, x, y, width=width, **options)
        scope = scope / "Centroids"
        self.centroid_query = Projection(scope, *y[:2], width, "_query", "_query_pos")
        self.centroid_key = Projection(scope, *x[:2], width, "_key", "_key_pos")
        self.centroid_value = Projection(scope, *x[:2], width, "_value", "_value_pos")

    def probabilities(self, x, y, x_positions, y_positions, mask, previous, random) -> tf.Tensor:
        """Return how much each element of X attends to each of Y, [B, A, N, K]."""
        of_y = split_heads(self.centroid_query(y, y_positions), self.heads)  # [B, A, K, h]
        of_x = split_heads(self.centroid_key(x, x_positions), self.heads)  # [B, A, N, h]
        values = split_heads(self.centroid_value(x, x_positions), self.heads)  # [B, A, N, h]
        centroids = attend(of_y, of_x) @ values  # Eq. 7: [B, A, K, h]
        queries = split_heads(self.query(x, x_positions), self.heads)  # [B, A, N, h]
        return dropout(attend(queries, centroids, mask), self.dropout, random)


class KMeansAttention(Attention):
    """The release's duplex attention: X compares itself with centroids found by k-means.

    A step of k-means assigns positions to centroids (softly: by attention), and makes each centroid
    the mean of the positions that are assigned to it. Components have no say in it: their keys are
    made, as the official checkpoints hold them, and not used.
    start: the first centroids are "learned", come from the "queries" of the positions (then K = N),
    or are "carried" on: the means of what the layer before assigned.
    folded: "queries" gives A d numbers for each position, which are cut into centroids without
    regard to positions (then 2 K = A N), as in the PyTorch program.
    """

    def __init__(
        self, scope, x, y, *, components: int, width: int, start="learned", folded=False, **options
    ):
        super().__init__(scope, x, y, width=width, **options)
        self.start, size = start, 2 * self.head_size  # of [content | position]
        self.components = components
        self.learned_centroids = self.queries_to_centroids = None
        if start == "learned":
            shape = [1, self.heads, components, size]
            self.learned_centroids = scope.normal("toasgn_init", shape)
        if start == "queries":
            outputs = width * (self.heads if folded else 2)
            self.queries_to_centroids = Dense(scope, width, outputs, suffix="_key2")
        self.centroid_weights = [
            (scope / f"iter_{i}").full("st_weights", [self.heads, 1, size], 1.0)
            for i in range(self.iterations)
        ]

    def probabilities(self, x, y, x_positions, y_positions, mask, previous, random) -> tf.Tensor:
        """Return how much each position belongs to each centroid, [B, A, N, K]."""
        content = self.query.content(x)  # [B, N, d]
        position = tf.broadcast_to(self.query.position(x_positions), tf.shape(content))
        queries = split_heads(tf.concat([content, position], axis=2), self.heads)  # [B, A, N, 2h]
        if self.start == "learned":
            # Not left to broadcasting, with which products crash TensorFlow 2.21 (oneDNN).
            centroids = tf.tile(self.learned_centroids, [tf.shape(x)[0], 1, 1, 1])  # [B, A, K, 2h]
        elif self.start == "queries":
            centroids = self.queries_to_centroids(content + position)
            shape = [-1, self.components, 2 * self.heads * self.head_size]
            centroids = split_heads(tf.reshape(centroids, shape), self.heads)
        else:
            centroids = assign_as_before(previous, x.shape[1]) @ queries  # [B, A, K, 2h]

        def compare(centroids: tf.Tensor, i: int) -> tf.Tensor:
            centroids, scale = centroids * self.centroid_weights[i], self.head_size**-0.5
            stream = random and random.fold(f"iteration{i}")
            return dropout(attend(queries, centroids, mask, scale=scale), self.dropout, stream)

        probabilities = compare(centroids, 0)
        for i in range(1, self.iterations):
            centroids = assign(probabilities) @ queries  # each the mean of what belongs to it
            probabilities = compare(centroids, i)
        return probabilities


def assign(probabilities: tf.Tensor) -> tf.Tensor:
    """Return the weight of each position in each centroid's mean, [B, A, N, K] -> [B, A, K, N]."""
    weights = tf.transpose(probabilities, [0, 1, 3, 2])
    return weights / (tf.reduce_sum(weights, axis=-1, keepdims=True) + 1e-8)


def assign_as_before(previous: tf.Tensor, positions: int) -> tf.Tensor:
    """Return the assignment of the layer before, where each position may have become 2x2 of them.

    previous: [B, A, H', W', K], its probabilities. Returns [B, A, K, N].
    """
    _, heads, rows, columns, k = previous.shape
    assignment = assign(tf.reshape(previous, [-1, heads, rows * columns, k]))
    if positions == rows * columns:
        return assignment
    grid = tf.reshape(assignment, [-1, heads, k, rows, columns])
    return tf.reshape(tf.repeat(tf.repeat(grid, 2, axis=3), 2, axis=4), [-1, heads, k, positions])
