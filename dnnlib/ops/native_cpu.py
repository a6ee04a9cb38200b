"""Operations whose compiled kernels exist for CPUs only, differentiable to any order."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from dnnlib.ops import reference

CONV_CHANNELS = 16  # kConvChannels in src/conv3x3.h
MAXIMUM_TARGETS = 256  # kMaximumTargets in src/cpu_kernels.h


def scale_channels(library, x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return x * scale.  x: [B, ..., C], scale: float32 [B, C]."""

    @tf.custom_gradient
    def apply(x, scale):
        y = library.gansformer_scale_channels(x=x, scale=scale)
        return y, lambda dy: _scale_gradient(library, dy, x, scale)

    return apply(x, scale)


def _scale_gradient(library, dy, x, scale):
    """Return dy * scale and the sums of dy * x over all but batch and channels."""

    @tf.custom_gradient
    def apply(dy, x, scale):
        def gradient(v, v_scale):
            through_dx, dscale = _scale_gradient(library, v, dy, scale)
            dx, ddy = scale_channels(library, x, v_scale), scale_channels(library, dy, v_scale)
            return through_dx + dx, ddy, dscale

        dx, dscale = library.gansformer_scale_channels_gradient(dy=dy, x=x, scale=scale)
        return (dx, dscale), gradient

    return apply(dy, x, scale)


def can_convolve(weights: tf.Tensor) -> bool:
    """Whether the 3x3 convolutions take weights [3, 3, I, O] of this shape."""
    return all(size and size % CONV_CHANNELS == 0 for size in weights.shape[2:])


def conv3x3(library, x: tf.Tensor, weights: tf.Tensor, *, transposed: bool = False) -> tf.Tensor:
    """Cross-correlate x [B, H, W, I] with weights [3, 3, I, O], zeros around x; all float32.

    transposed: the adjoint of that, from O to I channels.
    """

    @tf.custom_gradient
    def apply(x, weights):
        y = library.gansformer_conv3x3(x=x, weights=weights, transposed=transposed)

        def gradient(dy):
            dx = conv3x3(library, dy, weights, transposed=not transposed)
            ends = (dy, x) if transposed else (x, dy)
            return dx, _conv3x3_weights(library, *ends)

        return y, gradient

    return apply(x, weights)


def _conv3x3_weights(library, x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Return the gradient [3, 3, I, O] of sum(conv3x3(x, weights) * dy) with respect to weights."""

    @tf.custom_gradient
    def apply(x, dy):
        dweights = library.gansformer_conv3x3_weight_gradient(x=x, dy=dy)

        def gradient(v):
            return conv3x3(library, dy, v, transposed=True), conv3x3(library, x, v)

        return dweights, gradient

    return apply(x, dy)


def transposed_conv3x3(library, x: tf.Tensor, weights: tf.Tensor, *, flipped: bool) -> tf.Tensor:
    """Return the adjoint of `strided_conv3x3`: [B, H, W, O] -> [B, 2H + 1, 2W + 1, I]."""

    @tf.custom_gradient
    def apply(x, weights):
        y = library.gansformer_transposed_conv3x3(x=x, weights=weights, flipped=flipped)

        def gradient(dy):
            dx = strided_conv3x3(library, dy, weights, flipped=flipped)
            return dx, _strided_weights(library, dy, x, flipped=flipped)

        return y, gradient

    return apply(x, weights)


def strided_conv3x3(library, x: tf.Tensor, weights: tf.Tensor, *, flipped: bool) -> tf.Tensor:
    """Cross-correlate x with weights [3, 3, I, O], stride 2, no padding, odd sizes; all float32.

    flipped: the weights are those of a convolution the other way, [3, 3, O, I] turned round. The
    value is TensorFlow's, which is fast, but its gradients are not.
    """

    @tf.custom_gradient
    def apply(x, weights):
        y = tf.nn.conv2d(x, reference.turned(weights) if flipped else weights, 2, "VALID")

        def gradient(dy):
            dx = transposed_conv3x3(library, dy, weights, flipped=flipped)
            return dx, _strided_weights(library, x, dy, flipped=flipped)

        return y, gradient

    return apply(x, weights)


def _strided_weights(library, large: tf.Tensor, small: tf.Tensor, *, flipped: bool) -> tf.Tensor:
    """Return the gradient of sum(strided_conv3x3(large, weights) * small) by the weights."""

    @tf.custom_gradient
    def apply(large, small):
        dweights = library.gansformer_strided_conv3x3_weight_gradient(
            large=large, small=small, flipped=flipped
        )

        def gradient(v):
            dlarge = transposed_conv3x3(library, small, v, flipped=flipped)
            return dlarge, strided_conv3x3(library, large, v, flipped=flipped)

        return dweights, gradient

    return apply(large, small)


def attention_probabilities(library, x, weights, row_scores, column_scores, heads: int):
    """Return the softmax of x weights^T + row_scores + column_scores, see dispatch.py."""

    def gradient(outputs, upstream, x, weights, row_scores, column_scores):
        return tuple(
            library.gansformer_attention_probabilities_gradient(
                upstream=upstream[0],
                probabilities=outputs[0],
                x=x,
                weights=weights,
                heads=heads,
                grid_columns=column_scores.shape[1],
            )
        )

    def value(*inputs):
        return (library.gansformer_attention_probabilities(*inputs, heads=heads),)

    def plain(*inputs):
        return (reference.attention_probabilities(*inputs, heads=heads),)

    return _differentiable(value, gradient, plain)(x, weights, row_scores, column_scores)[0]


def attention_gain(library, *inputs: tf.Tensor, heads: int, normalize: bool):
    """Return x * scale * ([probabilities | 1] values) and the probabilities, see dispatch.py."""

    def gradient(outputs, upstream, x, weights, row_scores, column_scores, scale, values):
        return tuple(
            library.gansformer_attention_gain_gradient(
                dy=upstream[0],
                dprobabilities=upstream[1],
                probabilities=outputs[1],
                x=x,
                weights=weights,
                scale=scale,
                values=values,
                heads=heads,
                normalize=normalize,
                grid_columns=column_scores.shape[1],
            )
        )

    options = {"heads": heads, "normalize": normalize}

    def value(*inputs):
        return tuple(library.gansformer_attention_gain(*inputs, **options))

    return _differentiable(value, gradient, partial(reference.attention_gain, **options))(*inputs)


def _differentiable(value: Callable, gradient: Callable, plain: Callable) -> Callable:
    """Return the function y = value(*x) whose first derivative is gradient(y, dy, *x).

    y is a tuple. Higher derivatives, which only some regularisers need, are those of the same
    function `plain`.
    """

    def first_derivative(y, dy, inputs):
        @tf.custom_gradient
        def apply(*dy_and_inputs):
            dy, inputs = dy_and_inputs[: len(y)], dy_and_inputs[len(y) :]

            def second(*upstream):
                with tf.GradientTape() as outer:
                    outer.watch(dy_and_inputs)
                    with tf.GradientTape() as inner:
                        inner.watch(inputs)
                        plain_y = plain(*inputs)
                    result = inner.gradient(plain_y, inputs, dy, unconnected_gradients="zero")
                zero = {"unconnected_gradients": "zero"}
                return outer.gradient(result, dy_and_inputs, list(upstream), **zero)

            return gradient(y, dy, *inputs), second

        return apply(*dy, *inputs)

    @tf.custom_gradient
    def apply(*inputs):
        y = value(*inputs)
        known = [tf.stop_gradient(tensor) for tensor in y]
        return y, lambda *dy: first_derivative(known, dy, inputs)

    return apply
