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
What does not depend on X is computed by stacked.py, for several layers at once.

Axes are added by expand_dims and reshape: x[:, None] is a slice, whose gradient is one more kernel.
"""

import tensorflow as tf

from dnnlib.ops import Epilogue, attention_gain, finish_layer, is_reference_chosen, sample_conv2d
from gansformer import stacked
from gansformer.attention import Attention, KMeansAttention, split_heads
from gansformer.bipartite import BipartiteAttention, Components, with_map
from gansformer.stacked import Factors
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


def layer_factors(
    network, styles: tf.Tensor, y: tf.Tensor | None, components: Components, *, training: bool
) -> dict[int, Factors]:
    """Return the factors of the layers to which this applies, by index; see stacked.py."""
    layers = [part for part in network.layers if applies(part.attention, training=training)]
    return stacked.layer_factors(layers, styles, y, components, network.positions)


def synthesis_layer(layer, x, factors: Factors, noise, components: Components):
    """As `SynthesisLayer.__call__`, for a layer to which this applies."""
    x = layer.conv.convolve(x, factors.scale)
    epilogue = Epilogue(noise, tf.convert_to_tensor(layer.bias), layer.activation, layer.gain)
    if factors.attention is None:
        return finish_layer(x, epilogue, scale=factors.demodulation), components
    _, rows, columns, channels = x.shape
    if noise is not None:
        flat_noise = tf.reshape(noise, [noise.shape[0] or -1, rows * columns, 1])
        epilogue = epilogue._replace(noise=flat_noise)
    x = tf.reshape(x, [-1, rows * columns, channels])
    x, probabilities = _attend(layer.attention.to_image, x, factors, epilogue)
    x = tf.reshape(x, [-1, rows, columns, channels])
    return x, with_map(components, probabilities, (rows, columns))


def _attend(layer: Attention, x, factors: Factors, epilogue):
    """Return the epilogue of x scale (1 + control), [B, N, C], and probabilities [B, A, N, k]."""
    batch, arguments, scale = tf.shape(x)[0], factors.attention, factors.demodulation
    weights = arguments.weights
    if weights.shape[0] == 1:
        weights = tf.broadcast_to(weights, [batch, *weights.shape[1:]])
    x, probabilities = attention_gain(
        x,
        weights,
        arguments.row_scores,
        arguments.column_scores,
        tf.ones([batch, x.shape[2]]) if scale is None else scale,
        arguments.values,
        heads=layer.heads,
        normalize=layer.norm != "none",
        epilogue=epilogue,
    )
    return x, split_heads(probabilities, layer.heads)


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
