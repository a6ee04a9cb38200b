"""What fused layers need besides the image, for all consecutive layers of equal shapes at once.

Styles, keys and values depend on w and on weights only. Each is a small product, whose start costs
a GPU more than the product: so it is done for n layers together, with weights [n, ...].

In the formulas of fused.py this is Wq K^T, the scores of rows and columns, and [V Wo; 1 + bo].
Several heads are one: a key or value of head a has zeros in place of the other heads' features.

Letters: n layers, B samples, k components, A heads, d width of attention, C features.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from dnnlib.flat import Layout
from gansformer.attention import Attention, KMeansAttention
from gansformer.bipartite import Components

Weights = dict[str, tf.Tensor]


class AttentionFactors(NamedTuple):
    """Arguments of `dnnlib.ops.attention_gain`: [B, A k, C], [b, H, A k], [b, W, A k] with b = B or
    1, and [B, A k + 1, C]."""

    weights: tf.Tensor
    row_scores: tf.Tensor
    column_scores: tf.Tensor
    values: tf.Tensor


class Factors(NamedTuple):
    """What a layer's convolution multiplies by, and what its attention needs, if it has one.

    scale: of the inputs, [B, inputs]. demodulation: of the outputs, [B, outputs], or None.
    """

    scale: tf.Tensor
    demodulation: tf.Tensor | None
    attention: AttentionFactors | None


def layer_factors(
    layers: Sequence, styles: tf.Tensor, y: tf.Tensor | None, components: Components, positions
) -> dict[int, Factors]:
    """Return the factors of synthesis layers, by index.

    styles: [L, B, w_dim], y: [L, B, k, w_dim] or None, each layer's slice of w. positions: those of
    layers without their own.
    """
    runs = [
        [layer for _, layer in run] for _, run in itertools.groupby(enumerate(layers), key=_kind)
    ]
    factors = {}
    for run, weights in zip(runs, _stack([_weights_of(run) for run in runs]), strict=True):
        here = slice(run[0].slice, run[-1].slice + 1)
        scale, demodulation = _style(run[0].conv, weights, styles[here])
        attention = [None] * len(run)
        if run[0].attention is not None:
            attention = _attention(run, weights, y[here], demodulation, components, positions)
        scale = tf.unstack(scale)
        demodulation = [None] * len(run) if demodulation is None else tf.unstack(demodulation)
        for layer, *values in zip(run, scale, demodulation, attention, strict=True):
            factors[layer.index] = Factors(*values)
    return factors


def _kind(numbered: tuple) -> tuple:
    """Return what consecutive layers have in common that are computed together."""
    number, layer = numbered
    return layer.index - number, tuple(layer.conv.weight.shape), layer.attention is None


def _weights_of(run: list) -> dict[str, list[tf.Tensor]]:
    """Return, by name, the weights of each layer."""
    each = [_weights(layer) for layer in run]
    return {name: [weights[name] for weights in each] for name in each[0]}


def _weights(layer) -> Weights:
    conv, found = layer.conv, {}
    if conv.style:
        found |= {"style": conv.modulation.weight, "style_bias": conv.modulation.bias}
    if conv.style and conv.demodulate:
        found["power"] = conv.power()
    if layer.attention is None:
        return found
    attention = layer.attention.to_image
    dense = {"query": attention.query.content, "query_position": attention.query.position}
    if isinstance(attention, KMeansAttention):
        found["centroids"] = attention.learned_centroids
        found["centroid_weights"] = attention.centroid_weights[0]
    else:
        dense |= {"key": attention.key.content, "key_position": attention.key.position}
    dense |= {"value": attention.value, "out": attention.out}
    for name, part in dense.items():
        if part is not None:
            found |= {name: part.weight, f"{name}_bias": part.scaled_bias()}
    return found


def _stack(runs: list[dict[str, list[tf.Tensor]]]) -> list[Weights]:
    """Return all lists as tensors [n, ...], by a single copy."""
    lists = [tensors for run in runs for tensors in run.values()]
    layout = Layout([tensor.shape for tensors in lists for tensor in tensors])
    stacked = iter(layout.split_stacked(layout.join(sum(lists, [])), [len(x) for x in lists]))
    return [{name: next(stacked) for name in run} for run in runs]


def _style(conv, weights: Weights, styles: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return what scales inputs [n, B, inputs], and outputs [n, B, outputs] or None."""
    if not conv.style:
        shape = [styles.shape[0], tf.shape(styles)[1], conv.weight.shape[2]]
        return tf.fill(shape, conv.scale), None
    style = tf.matmul(styles * conv.modulation.scale, weights["style"])
    style = (style + tf.expand_dims(weights["style_bias"] + 1, 1)) * conv.scale
    if not conv.demodulate:
        return style, None
    return style, tf.math.rsqrt(tf.matmul(tf.square(style), weights["power"]) + 1e-8)


def _attention(
    run: list, weights: Weights, y: tf.Tensor, demodulation, components: Components, positions
) -> list[AttentionFactors]:
    """Return the factors of each layer's attention to y [n, B, k, D]."""
    layer: Attention = run[0].attention.to_image
    query, at_query = layer.query.content, layer.query.position
    content, position = _keys(layer, weights, y, components.positions)  # [n, B or 1, A k, d]
    products = _multiply(content * query.scale, weights["query"], transpose=True)  # Wq K^T
    if demodulation is not None:
        products *= tf.expand_dims(demodulation, 2)  # [n, B, A k, C]
    biases = [tf.expand_dims(weights[name], 2) for name in ("query_bias", "query_position_bias")]
    of_bias = _multiply(content, biases[0]) + _multiply(position, biases[1])  # [n, b, A k, 1]
    if components.mask is not None:
        of_bias += tf.expand_dims(tf.tile((1 - components.mask) * -10000.0, [1, layer.heads]), 2)
    if of_bias.shape[1] != position.shape[1]:
        position = tf.broadcast_to(
            position, [*tf.unstack(tf.shape(of_bias))[:3], position.shape[3]]
        )
    of_position = _multiply(position * at_query.scale, weights["query_position"], transpose=True)
    grids = [(part.positions or positions).rows_and_columns(part.log2) for part in run]
    sizes = [encoding.shape[1] for encoding in grids[0][::-1]]
    of_columns, of_rows = tf.split(of_position, sizes, axis=3)
    of_columns = tf.concat([of_columns, of_bias], axis=3)  # the bias is one more feature, always 1
    each = map(tf.unstack, (products, of_rows, of_columns, _values(layer, weights, y)))
    factors = []
    for (rows, columns), product, of_rows, of_columns, values in zip(grids, *each, strict=True):
        columns = tf.concat([columns, tf.ones([columns.shape[0], 1])], axis=1)
        scores = [tf.matmul(rows, of_rows, transpose_b=True)]
        scores.append(tf.matmul(columns, of_columns, transpose_b=True))
        factors.append(AttentionFactors(product, *scores, values))
    return factors


def _keys(layer: Attention, weights: Weights, y: tf.Tensor, y_positions):
    """Return what the contents and the positions of queries are compared with.

    Times the factor of the scores, each [n, B or 1, A k, d].
    """
    if isinstance(layer, KMeansAttention):  # queries are [content | position], cut into heads then
        n, heads, k, size = y.shape[0], layer.heads, layer.components, 2 * layer.head_size
        keys = tf.reshape(weights["centroids"], [n, heads, k, size])
        keys *= weights["centroid_weights"] * layer.head_size**-0.5  # [n, A, 1, 2h]
        keys = tf.reshape(tf.transpose(keys, [0, 2, 1, 3]), [n, 1, k, heads * size])
        return tf.split(_spread_heads(keys, heads), 2, axis=3)
    keys = _dense(layer.key.content, weights, "key", y)
    if layer.key.position is not None:
        at_key = tf.broadcast_to(y_positions, [y.shape[0], 1, *y_positions.shape])
        keys += _dense(layer.key.position, weights, "key_position", at_key)
    keys = _spread_heads(keys * layer.head_size ** (-layer.iterations / 2), layer.heads)
    return keys, keys


def _values(layer: Attention, weights: Weights, y: tf.Tensor) -> tf.Tensor:
    """Return [V Wo; 1 + bo], [n, B, A k + 1, C]."""
    values = _spread_heads(_dense(layer.value, weights, "value", y), layer.heads)
    values = _multiply(values * layer.out.scale, weights["out"])
    one = tf.expand_dims(tf.expand_dims(1 + weights["out_bias"], 1), 1)  # [n, 1, 1, C]
    one = tf.tile(one, [1, tf.shape(values)[1], 1, 1])
    return tf.concat([values, one], axis=2)


def _spread_heads(x: tf.Tensor, heads: int) -> tf.Tensor:
    """From [n, B, k, A h] to [n, B, A k, A h]: row a k + j is row j in head a, else 0."""
    if heads == 1:
        return x
    n, _, k, width = x.shape
    own = tf.repeat(tf.eye(heads), width // heads, axis=1)  # [A, A h]
    spread = tf.expand_dims(x, 2) * tf.expand_dims(own, 1)  # [n, B, A, k, A h]
    return tf.reshape(spread, [n, -1, heads * k, width])


def _dense(dense, weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """Return what the dense layers called `name` make of x [n, B, k, inputs]."""
    bias = tf.expand_dims(tf.expand_dims(weights[f"{name}_bias"], 1), 1)
    return _multiply(x * dense.scale, weights[name]) + bias


def _multiply(x: tf.Tensor, weight: tf.Tensor, *, transpose: bool = False) -> tf.Tensor:
    """Multiply x [n, B, k, i] by the weight [n, i, o] of each layer, or by its transpose."""
    n, _, k, size = x.shape
    product = tf.matmul(tf.reshape(x, [n, -1, size]), weight, transpose_b=transpose)
    return tf.reshape(product, [n, -1, k, product.shape[2]])
