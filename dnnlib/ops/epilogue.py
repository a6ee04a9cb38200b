"""What ends a layer: the scale of every channel, then noise, bias and activation.

On CPUs value and gradient take one pass over the features each: there is one kernel for the value,
and one for its gradient with all sums that belong to scale, noise and bias.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from dnnlib.ops.bias_act import bias_act, find_activation, slope_product
from dnnlib.ops.library import native_kernels
from dnnlib.ops.tensors import as_float_tensor, no_vector


class Epilogue(NamedTuple):
    """gain * activation(x + noise + bias).

    noise: float32 [B or 1, ..., 1] for x [B, ..., C], or None; bias: [C]. gain is all of it: the
    activation's own is not added.
    """

    noise: tf.Tensor | None
    bias: tf.Tensor
    activation: str
    gain: float

    def check(self, x: tf.Tensor, op: str) -> None:
        """Raise ValueError, in the name of `op`, unless this fits x."""
        noise, bias = self.noise, self.bias
        if not bias.shape.is_compatible_with(x.shape[-1:]):
            raise ValueError(f"{op}: bias {bias.shape} does not fit the last axis of x {x.shape}")
        if noise is None:
            return
        samples = x.shape[0] if noise.shape[0] != 1 else 1
        if not noise.shape.is_compatible_with([samples, *x.shape[1:-1], 1]):
            raise ValueError(f"{op}: noise {noise.shape} is not [B or 1, ..., 1] of x {x.shape}")

    @property
    def alpha(self) -> float:
        """The activation's slope below zero, for "linear" and "lrelu"."""
        return 1.0 if self.activation == "linear" else find_activation(self.activation).alpha

    @property
    def has_slopes(self) -> bool:
        """Whether the result is one positive factor above zero and one below, times the sum."""
        return self.activation in ("linear", "lrelu") and self.gain > 0

    def apply(self, x: tf.Tensor) -> tf.Tensor:
        """Do this to x, one step after the other."""
        if self.noise is not None:
            x += tf.cast(self.noise, x.dtype)
        return bias_act(x, self.bias, activation=self.activation, gain=self.gain)


@tf.autograph.experimental.do_not_convert
def scale_channels(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Multiply every channel of every sample by a number of its own (modulation).

    x: [B, ..., C] of float32, bfloat16 or float16, scale: [B, C] of any float type. Returns the
    shape and type of x. On CPUs value and gradient take one pass each. Differentiable to any order.
    """
    x = as_float_tensor(x, "scale_channels")
    scale = _check_scale(x, scale, "scale_channels")
    kernels = native_kernels("scale_channels")
    if kernels is None:
        return plain_scale_channels(x, scale)
    return _native_scale(kernels, x, tf.cast(scale, tf.float32))


@tf.autograph.experimental.do_not_convert
def finish_layer(x: tf.Tensor, epilogue: Epilogue, *, scale: tf.Tensor | None = None) -> tf.Tensor:
    """Return gain * activation(x * scale + noise + bias), see `Epilogue`.

    x: [B, ..., C] of float32, bfloat16 or float16; scale: [B, C] of any float type, or None: 1.
    Returns the shape and type of x. On CPUs value and gradient take one pass each where there is a
    scale and the activation is "linear" or "lrelu". Differentiable to any order.
    """
    x = as_float_tensor(x, "finish_layer")
    epilogue.check(x, "finish_layer")
    if scale is not None:
        scale = _check_scale(x, scale, "finish_layer")
    if native_kernels("bias_act", cuda=True) is None:
        return plain_finish_layer(x, epilogue, scale)
    if scale is not None:
        kernels = native_kernels("scale_channels")
        if kernels is not None and epilogue.has_slopes:
            return _native_scale(kernels, x, tf.cast(scale, tf.float32), epilogue)
        x = scale_channels(x, scale)
    return epilogue.apply(x)


def plain_scale_channels(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return x * scale.  x: [B, ..., C], scale: [B, C]."""
    shape = tf.shape(scale)
    ones = [1] * (x.shape.rank - 2)
    spread = tf.reshape(scale, [shape[0], *ones, shape[1]])  # [B, 1, ..., C]
    return tf.cast(tf.cast(x, tf.float32) * tf.cast(spread, tf.float32), x.dtype)


def plain_finish_layer(
    x: tf.Tensor, epilogue: Epilogue, scale: tf.Tensor | None = None
) -> tf.Tensor:
    """Return gain * activation(x * scale + noise + bias), rounded once.  scale: [B, C] or None."""
    y = tf.cast(x, tf.float32)
    y = y if scale is None else plain_scale_channels(y, scale)
    return tf.cast(epilogue.apply(y), x.dtype)


def _check_scale(x: tf.Tensor, scale: tf.Tensor, op: str) -> tf.Tensor:
    scale = tf.convert_to_tensor(scale)
    fits = scale.shape.rank == 2 and (x.shape.rank or 0) >= 2
    if not fits or not scale.shape.is_compatible_with([x.shape[0], x.shape[-1]]):
        raise ValueError(f"{op}: scale {scale.shape} is not [B, C] of x {x.shape}")
    return scale


def _native_scale(
    kernels: Any, x: tf.Tensor, scale: tf.Tensor, epilogue: Epilogue | None = None
) -> tf.Tensor:
    """Return the epilogue, if any, of x * scale.  x: [B, ..., C], scale: float32 [B, C]."""
    noise, bias, slopes = kernel_arguments(epilogue)

    @tf.custom_gradient
    def apply(x, scale, noise, bias):
        y = kernels.gansformer_scale_channels(x=x, scale=scale, noise=noise, bias=bias, **slopes)
        # With one slope everywhere y is not read; x takes its place.
        constant_y = x if slopes["alpha"] == 1 else tf.stop_gradient(y)

        def gradient(dy):
            dx, dscale, *others = _scale_gradient(
                kernels, dy, x, scale, constant_y, slopes, want_epilogue=epilogue is not None
            )
            return dx, dscale, *epilogue_gradients(epilogue, *others)

        return y, gradient

    return apply(x, scale, noise, bias)


def _scale_gradient(kernels, dy, x, scale, y, slopes: dict, *, want_epilogue: bool):
    """Return slopes(y) dy * scale, the sums of slopes(y) dy * x over all but batch and channels.

    And, if wanted, the sums of slopes(y) dy over channels, [B, pixels], and over all but channels.
    """

    @tf.custom_gradient
    def apply(dy, x, scale):
        def gradient(v, v_scale, v_noise, v_bias):
            dx, dscale, _, _ = _scale_gradient(
                kernels, dy, v, v_scale, y, slopes, want_epilogue=False
            )
            du = _native_scale(kernels, v, scale) + _native_scale(kernels, x, v_scale)
            if want_epilogue:
                v_noise = tf.reshape(v_noise, tf.concat([tf.shape(x)[:-1], [1]], 0))
                du += tf.cast(v_noise + v_bias, x.dtype)
            if slopes != _NO_SLOPES:
                du, _ = slope_product(kernels, du, no_vector(), y, slopes | {"clamp": -1.0})
            return du, dx, dscale

        arguments = {"dy": dy, "y": y, "x": x, "scale": scale, "want_epilogue": want_epilogue}
        return tuple(kernels.gansformer_scale_channels_gradient(**arguments, **slopes)), gradient

    return apply(dy, x, scale)


_NO_SLOPES = {"alpha": 1.0, "gain": 1.0}


def kernel_arguments(epilogue: Epilogue | None) -> tuple[tf.Tensor, tf.Tensor, dict]:
    """Return noise and bias, empty where there is none, and the attributes of the slopes."""
    if epilogue is None:
        return no_vector(), no_vector(), _NO_SLOPES
    noise = no_vector() if epilogue.noise is None else epilogue.noise
    bias = tf.cast(epilogue.bias, tf.float32)
    return noise, bias, {"alpha": epilogue.alpha, "gain": epilogue.gain}


def epilogue_gradients(epilogue: Epilogue | None, dnoise, dbias) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of noise and bias in the shapes of the latter."""
    if epilogue is None:
        return dnoise, dbias
    if epilogue.noise is None:
        return no_vector(), dbias
    dnoise = tf.reshape(dnoise, [-1, *epilogue.noise.shape[1:]])
    if epilogue.noise.shape[0] == 1:
        dnoise = tf.reduce_sum(dnoise, axis=0, keepdims=True)
    return dnoise, dbias
