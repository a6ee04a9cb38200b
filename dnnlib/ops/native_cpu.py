"""Operations whose compiled kernels exist for CPUs only, differentiable to any order."""

from collections.abc import Callable
from functools import lru_cache

import tensorflow as tf

from dnnlib.ops import reference
from dnnlib.ops.activations import find_activation
from dnnlib.ops.epilogue import Epilogue
from dnnlib.ops.toolchain import read_cpuinfo

CONV_CHANNELS = 16  # kConvChannels in src/conv3x3.h
MAXIMUM_COLOURS = 4  # kMaximumColours in src/cpu_kernels.h
MAXIMUM_TARGETS = 256  # kMaximumTargets in src/cpu_kernels.h


def scale_channels(library, x, scale, epilogue: Epilogue | None = None) -> tf.Tensor:
    """Return the epilogue, if any, of x * scale.  x: [B, ..., C], scale: float32 [B, C]."""
    noise, bias, slopes = _kernel_arguments(epilogue)

    @tf.custom_gradient
    def apply(x, scale, noise, bias):
        y = library.gansformer_scale_channels(x=x, scale=scale, noise=noise, bias=bias, **slopes)
        known = x if slopes["alpha"] == 1 else tf.stop_gradient(y)  # slopes all alike: not read

        def gradient(dy):
            dx, dscale, *others = _scale_gradient(
                library, dy, x, scale, known, slopes, want_epilogue=epilogue is not None
            )
            return dx, dscale, *_epilogue_gradients(epilogue, *others)

        return y, gradient

    return apply(x, scale, noise, bias)


def _scale_gradient(library, dy, x, scale, y, slopes: dict, *, want_epilogue: bool):
    """Return slopes(y) dy * scale, the sums of slopes(y) dy * x over all but batch and channels.

    And, if wanted, the sums of slopes(y) dy over channels, [B, pixels], and over all but channels.
    """

    @tf.custom_gradient
    def apply(dy, x, scale):
        def gradient(v, v_scale, v_noise, v_bias):
            dx, dscale, _, _ = _scale_gradient(
                library, dy, v, v_scale, y, slopes, want_epilogue=False
            )
            du = scale_channels(library, v, scale) + scale_channels(library, x, v_scale)
            if want_epilogue:
                v_noise = tf.reshape(v_noise, tf.concat([tf.shape(x)[:-1], [1]], 0))
                du += tf.cast(v_noise + v_bias, x.dtype)
            return _multiply_slopes(library, du, y, slopes), dx, dscale

        arguments = {"dy": dy, "y": y, "x": x, "scale": scale, "want_epilogue": want_epilogue}
        return tuple(library.gansformer_scale_channels_gradient(**arguments, **slopes)), gradient

    return apply(dy, x, scale)


def _multiply_slopes(library, v: tf.Tensor, y: tf.Tensor, slopes: dict) -> tf.Tensor:
    """Return v * gain where y is positive and v * gain * alpha elsewhere."""
    if slopes == _NO_SLOPES:
        return v

    @tf.custom_gradient
    def apply(v):
        none = tf.zeros([0])
        dv, _ = library.gansformer_bias_act_gradient(
            dy=v,
            dy_shift=none,
            known=y,
            bias=none,
            want_bias_gradient=False,
            activation=find_activation("lrelu").code,
            clamp=-1.0,
            **slopes,
        )
        return dv, lambda u: _multiply_slopes(library, u, y, slopes)

    return apply(v)


_NO_SLOPES = {"alpha": 1.0, "gain": 1.0}


def _kernel_arguments(epilogue: Epilogue | None) -> tuple[tf.Tensor, tf.Tensor, dict]:
    """Return noise and bias, empty for "none", and the attributes of the slopes."""
    none = tf.zeros([0])
    if epilogue is None:
        return none, none, _NO_SLOPES
    noise = none if epilogue.noise is None else epilogue.noise
    bias = tf.cast(epilogue.bias, tf.float32)
    return noise, bias, {"alpha": epilogue.alpha, "gain": epilogue.gain}


def _epilogue_gradients(epilogue: Epilogue | None, dnoise, dbias) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of noise and bias in the shapes of the latter."""
    if epilogue is None:
        return dnoise, dbias
    if epilogue.noise is None:
        return tf.zeros([0]), dbias
    dnoise = tf.reshape(dnoise, [-1, *epilogue.noise.shape[1:]])
    if epilogue.noise.shape[0] == 1:
        dnoise = tf.reduce_sum(dnoise, axis=0, keepdims=True)
    return dnoise, dbias


@lru_cache
def has_matrix_tiles() -> bool:
    """Whether the processor has AMX, with which TensorFlow convolves fastest in bfloat16."""
    return "amx_bf16" in read_cpuinfo()


def can_convolve(weights: tf.Tensor) -> bool:
    """Whether the 3x3 convolutions take weights [3, 3, I, O] of this shape."""
    return all(size and size % CONV_CHANNELS == 0 for size in weights.shape[2:])


def conv3x3(library, x: tf.Tensor, weights: tf.Tensor, *, transposed: bool = False) -> tf.Tensor:
    """Cross-correlate x [B, H, W, I] with float32 weights [3, 3, I, O], zeros around x.

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
    """Return the float32 gradient [3, 3, I, O] of sum(conv3x3(x, weights) * dy) by the weights."""

    @tf.custom_gradient
    def apply(x, dy):
        dweights = library.gansformer_conv3x3_weight_gradient(x=x, dy=dy)

        def gradient(v):
            return conv3x3(library, dy, v, transposed=True), conv3x3(library, x, v)

        return dweights, gradient

    return apply(x, dy)


def transposed_conv3x3(library, x: tf.Tensor, weights: tf.Tensor, *, flipped: bool) -> tf.Tensor:
    """Return the adjoint of `strided_conv3x3`: [B, H, W, O] -> [B, 2H + 1, 2W + 1, I].

    In 16 bit by TensorFlow, which multiplies at twice the rate where the processor can.
    """

    @tf.custom_gradient
    def apply(x, weights):
        if x.dtype == tf.float32:
            y = library.gansformer_transposed_conv3x3(x=x, weights=weights, flipped=flipped)
        else:
            turned = weights if flipped else reference.turned(weights)
            y = reference.transposed_conv2d(x, tf.cast(turned, x.dtype), 2)

        def gradient(dy):
            dx = strided_conv3x3(library, dy, weights, flipped=flipped)
            return dx, _strided_weights(library, dy, x, flipped=flipped)

        return y, gradient

    return apply(x, weights)


def strided_conv3x3(library, x: tf.Tensor, weights: tf.Tensor, *, flipped: bool) -> tf.Tensor:
    """Cross-correlate x with float32 weights [3, 3, I, O], stride 2, no padding, odd sizes.

    flipped: the weights are those of a convolution the other way, [3, 3, O, I] turned round. The
    value is TensorFlow's, which is fast, but its gradients are not.
    """

    @tf.custom_gradient
    def apply(x, weights):
        turned = reference.turned(weights) if flipped else weights
        y = tf.nn.conv2d(x, tf.cast(turned, x.dtype), 2, "VALID")

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


def can_convolve_samples(weights: tf.Tensor) -> bool:
    """Whether the sample convolution takes weights [B, n, n, I, O] of this shape."""
    size, _, inputs, outputs = weights.shape[1:]
    return size % 2 == 1 and inputs % CONV_CHANNELS == 0 and 1 <= outputs <= MAXIMUM_COLOURS


def sample_conv2d(library, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate each sample with its own float32 weights, zeros around x; float32."""

    def value(*inputs):
        return (library.gansformer_sample_conv(*inputs),)

    def gradient(outputs, upstream, *inputs):
        return tuple(library.gansformer_sample_conv_gradient(*upstream, *inputs))

    def plain(*inputs):
        return (reference.sample_conv2d(*inputs),)

    return _differentiable(value, gradient, plain)(x, weights)[0]


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


def attention_gain(
    library, *inputs: tf.Tensor, heads: int, normalize: bool, epilogue: Epilogue | None
):
    """Return x * scale * ([probabilities | 1] values) and the probabilities, see dispatch.py."""
    noise, bias, slopes = _kernel_arguments(epilogue)
    options = {"heads": heads, "normalize": normalize}

    def value(*inputs):
        return tuple(library.gansformer_attention_gain(*inputs, **options, **slopes))

    def gradient(outputs, upstream, x, weights, row_scores, column_scores, scale, values, *_):
        *gradients, dnoise, dbias = library.gansformer_attention_gain_gradient(
            dy=upstream[0],
            y=x if slopes["alpha"] == 1 else outputs[0],  # slopes all alike: not read
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
        return *gradients, *_epilogue_gradients(epilogue, dnoise, dbias)

    def plain(*inputs):
        *inputs, noise, bias = inputs
        follows = epilogue
        if follows is not None:
            follows = follows._replace(bias=bias, noise=None if follows.noise is None else noise)
        return reference.attention_gain(*inputs, **options, epilogue=follows)

    return _differentiable(value, gradient, plain)(*inputs, noise, bias)


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
