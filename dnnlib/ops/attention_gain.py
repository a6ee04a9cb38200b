"""The product of features with what their positions attend to.

The kernels read the features once for the scores and once for the product, of a block of positions
at a time, which stays in the cache.
"""

from typing import Any

import tensorflow as tf

from dnnlib.ops.epilogue import Epilogue, epilogue_gradients, kernel_arguments
from dnnlib.ops.library import current_device, native_kernels
from dnnlib.ops.multiply_adds import counts
from dnnlib.ops.tensors import as_float_tensor, differentiable

# As in src/attention/attention.h: of one head on a CPU, of all heads on a GPU.
MAXIMUM_KEYS, MAXIMUM_KEYS_ON_GPU = 256, 64


@tf.autograph.experimental.do_not_convert
def attention_gain(
    x: tf.Tensor,
    weights: tf.Tensor,
    row_scores: tf.Tensor,
    column_scores: tf.Tensor,
    scale: tf.Tensor,
    values: tf.Tensor,
    *,
    heads: int = 1,
    normalize: bool = False,
    epilogue: Epilogue | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Multiply features by what their positions attend to: u * ([probabilities | 1] values).

    The positions form a grid of R rows and N columns, F = R N. The probabilities of position (r, n)
    are the softmax of x[r, n] weights^T + row_scores[r] + column_scores[n] over the K keys of each
    of the A heads. u is x * scale, with `normalize` divided by its root mean square over C. With
    `epilogue` the features are what that makes of the product.

    x: [B, F, C] of float32, bfloat16 or float16; weights: [B, A K, C], row_scores:
    [B or 1, R, A K], column_scores: [B or 1, N, A K], scale: [B, C], values: [B, A K + 1, C],
    float32. Returns the shape and type of x, and the probabilities, float32 [B, F, A K].
    Differentiable to any order.
    """
    x = as_float_tensor(x, "attention_gain")
    arguments = [x, *map(tf.convert_to_tensor, (weights, row_scores, column_scores, scale, values))]
    _check_shapes(*arguments, heads)
    if epilogue is not None:
        epilogue.check(x, "attention_gain")
    options = {"heads": heads, "normalize": normalize}
    kernels = None
    if _fits_kernels(weights.shape[1], heads):
        kernels = native_kernels("attention_gain", cuda=True)
    if kernels is None:
        return _plain_gain(*arguments, **options, epilogue=epilogue)
    for number in (2, 3):
        if arguments[number].shape[0] == 1:
            shape = [tf.shape(x)[0], *arguments[number].shape[1:]]
            arguments[number] = tf.broadcast_to(arguments[number], shape)
    if epilogue is None or epilogue.has_slopes:
        return _native_gain(kernels, *arguments, **options, epilogue=epilogue)
    y, probabilities = _native_gain(kernels, *arguments, **options, epilogue=None)
    return epilogue.apply(y), probabilities


def _fits_kernels(keys: int, heads: int) -> bool:
    if current_device() == "GPU":
        return keys <= MAXIMUM_KEYS_ON_GPU
    return keys // heads <= MAXIMUM_KEYS


def _check_shapes(x, weights, row_scores, column_scores, scale, values, heads: int) -> None:
    keys, positions = weights.shape[1], row_scores.shape[1] * column_scores.shape[1]
    good = x.shape[1:] == [positions, weights.shape[2]] and keys % heads == 0
    if not good or {row_scores.shape[2], column_scores.shape[2]} != {keys}:
        raise ValueError(
            f"attention_gain: weights {weights.shape}, row_scores {row_scores.shape} and "
            f"column_scores {column_scores.shape} do not fit x {x.shape}"
        )
    if scale.shape[1:] != x.shape[2:] or values.shape[1:] != [keys + 1, x.shape[2]]:
        raise ValueError(
            f"attention_gain: scale {scale.shape} and values {values.shape} do not fit "
            f"x {x.shape} and weights {weights.shape}"
        )


def _plain_gain(
    x: tf.Tensor,
    weights: tf.Tensor,
    row_scores: tf.Tensor,
    column_scores: tf.Tensor,
    scale: tf.Tensor,
    values: tf.Tensor,
    *,
    heads: int,
    normalize: bool,
    epilogue: Epilogue | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    scores = tf.cast(tf.matmul(x, tf.cast(weights, x.dtype), transpose_b=True), tf.float32)
    offsets = tf.expand_dims(row_scores, 2) + tf.expand_dims(column_scores, 1)  # [B, R, N, A K]
    scores += tf.reshape(offsets, [-1, *scores.shape[1:]])  # [B, F, A K]
    by_head = tf.reshape(scores, [-1, scores.shape[1], heads, scores.shape[2] // heads])
    probabilities = tf.reshape(tf.nn.softmax(by_head), tf.shape(scores))
    left = tf.concat([probabilities, tf.ones_like(scores[:, :, :1])], axis=2)
    u = tf.cast(x, tf.float32) * tf.expand_dims(scale, 1)
    if normalize:  # one number for each position: it enters the same product
        power = tf.reduce_mean(tf.square(u), axis=2, keepdims=True)
        left *= tf.math.rsqrt(power + 1e-8)
    y = u * tf.cast(tf.matmul(tf.cast(left, x.dtype), tf.cast(values, x.dtype)), tf.float32)
    y = y if epilogue is None else epilogue.apply(y)
    return tf.cast(y, x.dtype), probabilities


def _native_gain(
    kernels: Any,
    *inputs: tf.Tensor,
    heads: int,
    normalize: bool,
    epilogue: Epilogue | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    noise, bias, slopes = kernel_arguments(epilogue)
    options = {"heads": heads, "normalize": normalize}

    def value(*inputs):
        return tuple(kernels.gansformer_attention_gain(*inputs, **options, **slopes))

    def gradient(outputs, upstream, x, weights, row_scores, column_scores, scale, values, *_):
        *gradients, dnoise, dbias = kernels.gansformer_attention_gain_gradient(
            dy=upstream[0],
            y=x if slopes["alpha"] == 1 else outputs[0],  # y is not read then
            dprobabilities=upstream[1],
            probabilities=outputs[1],
            x=x,
            weights=weights,
            scale=scale,
            values=values,
            grid_columns=column_scores.shape[1],
            want_epilogue=epilogue is not None,
            **options,
            **slopes,
        )
        return *gradients, *epilogue_gradients(epilogue, dnoise, dbias)

    def plain(*inputs):
        *inputs, noise, bias = inputs
        if epilogue is None:
            return _plain_gain(*inputs, **options)
        end = epilogue._replace(bias=bias, noise=None if epilogue.noise is None else noise)
        return _plain_gain(*inputs, **options, epilogue=end)

    return differentiable(value, gradient, plain)(*inputs, noise, bias)


@counts("GansformerAttentionGain")
def _multiply_adds_of_gain(operation: tf.Operation) -> int:
    """Scores and values: each channel of a position meets each key, and a bias."""
    keys = operation.inputs[1].shape[1]
    return operation.outputs[0].shape.num_elements() * (2 * keys + 1)
