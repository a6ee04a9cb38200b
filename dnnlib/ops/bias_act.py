"""bias_act: bias, activation, gain and clamp in one op, differentiable to any order.

The kernels take activations with one slope above zero and one below: linear and lrelu, which all
configurations use. The others take the plain form.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from dnnlib.errors import suggest
from dnnlib.ops.library import native_kernels
from dnnlib.ops.tensors import as_float_tensor, no_vector


@dataclass(frozen=True)
class Activation:
    """One activation function.

    `function` takes u and alpha; `gain` keeps the variance of a normal input roughly constant;
    `alpha` is the default slope below zero where there is one.
    """

    function: Callable[[tf.Tensor, float], tf.Tensor]
    gain: float = 1.0
    alpha: float = 0.0


ACTIVATIONS = {
    "linear": Activation(lambda u, alpha: u),
    "relu": Activation(lambda u, alpha: tf.nn.relu(u), gain=math.sqrt(2.0)),
    "lrelu": Activation(tf.nn.leaky_relu, gain=math.sqrt(2.0), alpha=0.2),
    "tanh": Activation(lambda u, alpha: tf.tanh(u)),
    "sigmoid": Activation(lambda u, alpha: tf.sigmoid(u)),
    "elu": Activation(lambda u, alpha: tf.nn.elu(u)),
    "selu": Activation(lambda u, alpha: tf.nn.selu(u)),
    "softplus": Activation(lambda u, alpha: tf.nn.softplus(u)),
    "swish": Activation(lambda u, alpha: tf.sigmoid(u) * u, gain=math.sqrt(2.0)),
}


def find_activation(name: str) -> Activation:
    """Return the activation called `name`; an unknown name is an error that suggests another."""
    if name not in ACTIVATIONS:
        hint = suggest(name, ACTIVATIONS)
        raise ValueError(f'unknown activation "{name}"{hint}; known: {", ".join(ACTIVATIONS)}')
    return ACTIVATIONS[name]


def activation_gain(name: str) -> float:
    """Return the gain that `bias_act` applies after activation `name` by default."""
    return find_activation(name).gain


@tf.autograph.experimental.do_not_convert
def bias_act(
    x: tf.Tensor,
    bias: tf.Tensor | None = None,
    *,
    activation: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    scale: float = 1.0,
    bias_scale: float = 1.0,
) -> tf.Tensor:
    """Return clip(gain * activation(scale * x + bias_scale * bias), -clamp, clamp).

    x: [..., C] of float32, bfloat16 or float16; bias: [C], of any float type, or None. `alpha` (the
    slope of lrelu below 0) and `gain` default to the activation's own (see `activation_gain`);
    without `clamp` nothing is clipped. Differentiable to any order.
    The scales cost nothing where a kernel is used: with a slope a on each side of zero,
    gain a(scale x + bias_scale b) = (gain scale) a(x + (bias_scale / scale) b).
    """
    x = as_float_tensor(x, "bias_act")
    if bias is not None:
        bias = tf.convert_to_tensor(bias)
        if bias.shape.rank != 1 or not bias.shape.is_compatible_with(x.shape[-1:]):
            raise ValueError(f"bias_act: bias {bias.shape} does not fit the last axis of {x.shape}")
    found = find_activation(activation)
    alpha = found.alpha if alpha is None else float(alpha)
    gain = found.gain if gain is None else float(gain)
    alpha = 1.0 if activation == "linear" else alpha
    has_slopes = activation in ("linear", "lrelu") and min(alpha, gain, scale) > 0
    kernels = native_kernels("bias_act", cuda=True) if has_slopes else None
    if kernels is None:
        return _plain_bias_act(x, bias, found.function, alpha, gain, clamp, scale, bias_scale)
    bias = no_vector() if bias is None else tf.cast(bias, tf.float32)
    slopes = {
        "alpha": alpha,
        "gain": gain * scale,
        "clamp": -1.0 if clamp is None else float(clamp),
        "bias_gain": bias_scale / scale,
    }
    return _native_bias_act(kernels, x, bias, slopes)


def _plain_bias_act(
    x,
    bias,
    function: Callable,
    alpha: float,
    gain: float,
    clamp: float | None,
    scale: float,
    bias_scale: float,
):
    y = tf.cast(x, tf.float32)
    if scale != 1.0:
        y = y * scale
    if bias is not None:
        bias = tf.cast(bias, tf.float32)
        y = y + (bias if bias_scale == 1.0 else bias * bias_scale)
    y = function(y, alpha)
    if gain != 1.0:
        y = y * gain
    if clamp is not None:
        y = tf.clip_by_value(y, -clamp, clamp)
    return tf.cast(y, x.dtype)


def _native_bias_act(kernels: Any, x: tf.Tensor, bias: tf.Tensor, slopes: dict) -> tf.Tensor:
    @tf.custom_gradient
    def apply(x, bias):
        y = kernels.gansformer_bias_act(x=x, bias=bias, **slopes)

        def gradient(dy):
            # With one slope everywhere y need not be kept; dy takes its place.
            has_one_slope = slopes["alpha"] == 1 and slopes["clamp"] < 0
            signs = tf.stop_gradient(dy if has_one_slope else y)
            return slope_product(kernels, dy, no_vector(), signs, slopes, want_sums=_is_given(bias))

        return y, gradient

    return apply(x, bias)


def slope_product(
    kernels: Any,
    dy: tf.Tensor,
    shift: tf.Tensor,
    y: tf.Tensor,
    slopes: dict,
    *,
    want_sums: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return dy + shift times the slope that belongs to y, and its sums over all axes but the last.

    slopes: the attributes of the op, whose bias_gain multiplies shift and the sums. These are
    float32 [C], or empty. The product is linear in dy and shift, so its gradient is another one.
    """

    @tf.custom_gradient
    def apply(dy, shift):
        dx, sums = kernels.gansformer_bias_act_gradient(
            dy=dy, dy_shift=shift, y=y, want_bias_gradient=want_sums, **slopes
        )
        return (dx, sums), lambda v, v_sums: slope_product(
            kernels, v, v_sums, y, slopes, want_sums=_is_given(shift)
        )

    return apply(dy, shift)


def _is_given(vector: tf.Tensor) -> bool:
    return vector.shape[0] != 0
