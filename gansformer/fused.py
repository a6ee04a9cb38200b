"""What synthesis.py computes, in fewer operations. Tests demand equality with the plain form.

Each folding follows from linearity: a product of three matrices starts with the two small ones.

1.  Scores. With Q = X Wq + P Wp + b, the scores Q K^T are X (Wq K^T) + P (Wp K^T) + b K^T: no
    queries [N, d] are made, and the cost per position is proportional to the k components.
2.  Positions. P = [columns | rows] makes P (Wp K^T) one score for the row, one for the column.
3.  Values. (A V) Wo + bo = A (V Wo) + bo = [A | 1] [V Wo; bo], with the attention A: no attended
    values [N, d] either.
4.  Demodulation multiplies channels by s: (X s) Wq = X (s Wq), and gain * (X s) takes s along.
5.  Noise, bias and activation are done in the pass that ends with gain * X s, or in the one that
    demodulates (`dnnlib.ops.Epilogue`).
6.  Colours. Nothing lies between a GANformer's extra 3x3 convolution and the 1x1 one to colours:
    both are one 3x3 convolution with 3 outputs and weights of each sample's own.

1 to 5 hold where attention only multiplies (integration "mul", no normalisation over positions) by
what the softmax gives (no gates, no dropout), with keys that do not depend on X: simplex, and
k-means in one step from learned centroids. All presets are of this kind; other layers are plain.

Axes are added by expand_dims and reshape: x[:, None] is a slice, whose gradient is one more kernel.
"""

import tensorflow as tf

from dnnlib.ops import Epilogue, attention_gain, finish_layer, is_reference_chosen, sample_conv2d
from gansformer.attention import Attention, KMeansAttention, split_heads
from gansformer.bipartite import BipartiteAttention, with_map
from gansformer.summary import is_recording


def is_wanted() -> bool:
    """Whether the fused form is to be used: not with --ops reference, nor for summaries."""
    return not is_reference_chosen() and not is_recording()


def applies(attention: BipartiteAttention | None, *, training: bool) -> bool:
    """Whether a layer with this attention (None: without any) is computed here."""
    return is_wanted() and (attention is None or _is_gain(attention, training=training))


def _is_gain(attention: BipartiteAttention, *, training: bool) -> bool:
    """Whether all attention is a gain whose softmax compares X with what does not depend on X."""
    layer = attention.to_image
    others = attention.gather, attention.between_components, attention.from_image
    if layer is None or any(part is not None for part in (*others, attention.within_image)):
        return False
    if isinstance(layer, KMeansAttention):
        constant_keys = layer.start == "learned" and layer.iterations == 1
    else:
        constant_keys = type(layer) is Attention
    changed = layer.x_gate or layer.y_gate or (training and layer.dropout)
    multiplies = layer.integration == "mul" and layer.norm != "instance"
    return constant_keys and multiplies and not changed


def synthesis_layer(layer, x, style, noise, y, components, positions):
    """As `SynthesisLayer.__call__`, for a layer to which this applies."""
    x, demodulation = layer.conv.before_demodulation(x, style)
    epilogue = Epilogue(noise, tf.convert_to_tensor(layer.bias), layer.activation, layer.gain)
    if layer.attention is None:
        return finish_layer(x, epilogue, scale=demodulation), components
    _, rows, columns, channels = x.shape
    if noise is not None:
        flat_noise = tf.reshape(noise, [noise.shape[0] or -1, rows * columns, 1])
        epilogue = epilogue._replace(noise=flat_noise)
    x, probabilities = _attend(
        layer.attention.to_image,
        tf.reshape(x, [-1, rows * columns, channels]),
        y,
        positions=positions.rows_and_columns(layer.log2),
        y_positions=components.positions,
        mask=components.mask,
        scale=demodulation,
        epilogue=epilogue,
    )
    x = tf.reshape(x, [-1, rows, columns, channels])
    return x, with_map(components, probabilities, (rows, columns))


def _attend(layer: Attention, x, y, *, positions, y_positions, mask, scale, epilogue):
    """Return the epilogue of x scale (1 + control), [B, N, C], and probabilities [B, A, N, k].

    x: [B, N, C], y: [B, k, D], positions: [H, p1] and [W, p2], y_positions: [k, p] or None,
    mask: [B, k] or None, scale: [B, C] or None.
    """
    batch = tf.shape(x)[0]
    weights, row_scores, column_scores = _scores(layer, _keys(layer, y, y_positions), positions)
    if mask is not None:
        column_scores += tf.expand_dims(tf.tile((1 - mask) * -10000.0, [1, layer.heads]), 1)
    if scale is None:
        scale = tf.ones([batch, x.shape[2]])
    else:
        weights *= tf.expand_dims(scale, 1)  # 4.
    each = [
        tensor if tensor.shape[0] != 1 else tf.broadcast_to(tensor, [batch, *tensor.shape[1:]])
        for tensor in (weights, row_scores, column_scores)
    ]
    options = {"heads": layer.heads, "normalize": layer.norm != "none", "epilogue": epilogue}
    x, probabilities = attention_gain(x, *each, scale, _gains(layer, y), **options)
    probabilities = split_heads(probabilities, layer.heads)  # [B, A, N, k]
    return x, probabilities


def _keys(layer: Attention, y: tf.Tensor, y_positions: tf.Tensor | None) -> tf.Tensor:
    """Return what queries are compared with, times the factor of the scores, [B or 1, A, k, h]."""
    if isinstance(layer, KMeansAttention):
        return layer.learned_centroids * layer.centroid_weights[0] * layer.head_size**-0.5
    keys = split_heads(layer.key(y, y_positions), layer.heads)
    return keys * layer.head_size ** (-layer.iterations / 2)


def _scores(layer: Attention, keys: tf.Tensor, positions) -> tuple[tf.Tensor, ...]:
    """Return Wq K^T as [B, A k, C], and scores of rows [B, H, A k] and of columns [B, W, A k].

    (1. and 2.) Each for B samples, or for 1.
    """
    content, position = layer.query.content, layer.query.position
    weight, of_position = content.scaled_weight(), position.scaled_weight()  # [C, d], [p, d]
    biases = [tf.reshape(part.scaled_bias(), [1, -1]) for part in (content, position)]  # [1, d]
    if isinstance(layer, KMeansAttention):  # queries are [content | position], cut into heads then
        of_content = tf.concat([weight, tf.zeros_like(of_position), biases[0]], axis=0)
        of_others = tf.concat([tf.zeros_like(weight), of_position, biases[1]], axis=0)
        together = tf.concat([of_content, of_others], axis=1)
    else:
        together = tf.concat([weight, of_position, biases[0] + biases[1]], axis=0)
    rows, columns = positions
    sizes = [weight.shape[0], columns.shape[1], rows.shape[1], 1]
    product = _multiply_by_keys(together, keys)  # [B, A k, C + p + 1]
    of_content, of_columns, of_rows, of_bias = tf.split(product, sizes, axis=2)
    row_scores = tf.matmul(rows, of_rows, transpose_b=True)
    column_scores = tf.matmul(columns, of_columns, transpose_b=True)
    return of_content, row_scores, column_scores + tf.transpose(of_bias, [0, 2, 1])


def _multiply_by_keys(weight: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Return K W^T: weight [n, A h], keys [B, A, k, h] -> [B, A k, n]."""
    _, heads, k, size = keys.shape
    weight = tf.transpose(tf.reshape(weight, [-1, heads, size]), [1, 2, 0])  # [A, h, n]
    product = _multiply_heads(keys, weight)  # [B, A, k, n]
    return tf.reshape(product, [-1, heads * k, weight.shape[2]])


def _gains(layer: Attention, y: tf.Tensor) -> tf.Tensor:
    """Return [V Wo; 1 + bo], float32 [B, A k + 1, C] (3.): with [A | 1], 1 + control."""
    values = split_heads(tf.cast(layer.value(y), tf.float32), layer.heads)  # [B, A, k, h]
    weight = tf.reshape(layer.out.scaled_weight(), [layer.heads, layer.head_size, -1])
    values = _multiply_heads(values, weight)  # [B, A, k, C]
    values = tf.reshape(values, [-1, layer.heads * y.shape[1], weight.shape[2]])
    one = tf.reshape(1 + layer.out.scaled_bias(), [1, 1, -1])
    one = tf.tile(one, [tf.shape(values)[0], 1, 1])
    return tf.concat([values, one], axis=1)


def _multiply_heads(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Multiply x [B, A, k, h] by the weight [A, h, o] of each head, giving [B, A, k, o]."""
    _, heads, k, size = x.shape
    if heads > 1:
        return tf.matmul(x, weight)
    weight = tf.squeeze(weight, 0)
    flat = tf.matmul(tf.reshape(x, [-1, size]), weight)  # one product instead of B small ones
    return tf.reshape(flat, [-1, 1, k, weight.shape[1]])


def to_rgb(layer, x: tf.Tensor, style: tf.Tensor, extra_style: tf.Tensor) -> tf.Tensor:
    """As `ToRgb.__call__` without tanh.  [B, H, W, C] -> float32 [B, H, W, channels]."""
    scale, _ = layer.conv.factors(style)  # [B, C]
    if layer.extra is None:
        weights = tf.reshape(scale, [-1, 1, 1, scale.shape[1], 1]) * layer.conv.weight
    else:
        weights = _fold_colours(layer, scale, extra_style)
    return sample_conv2d(x, weights) + layer.bias


def _fold_colours(layer, scale: tf.Tensor, extra_style: tf.Tensor) -> tf.Tensor:
    """Return the weights [B, 3, 3, C, channels] of both layers as one (6.)."""
    extra_scale, demodulation = layer.extra.factors(extra_style)
    scale = scale if demodulation is None else scale * demodulation
    channels = layer.conv.weight.shape[3]
    of_colours = tf.expand_dims(scale, 2) * tf.reshape(layer.conv.weight, [-1, channels])
    of_colours = tf.transpose(of_colours, [1, 0, 2])  # [C, B, channels]
    features = of_colours.shape[0]
    folded = tf.matmul(
        tf.reshape(layer.extra.weight, [-1, features]), tf.reshape(of_colours, [features, -1])
    )
    folded = tf.reshape(folded, [3, 3, features, -1, channels])
    extra_scale = tf.reshape(extra_scale, [-1, 1, 1, extra_scale.shape[1], 1])
    return tf.transpose(folded, [3, 0, 1, 2, 4]) * extra_scale
