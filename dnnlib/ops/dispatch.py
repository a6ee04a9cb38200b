"""The public operations: check the arguments, call the implementation that is live."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dnnlib.ops.activations import find_activation
from dnnlib.ops.implementations import live_operations
from dnnlib.ops.resample_geometry import make_resampling

FLOAT_TYPES = (tf.float32, tf.bfloat16, tf.float16)


@tf.autograph.experimental.do_not_convert
def upfirdn2d(
    x: tf.Tensor,
    kernel: np.ndarray,
    *,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: Sequence[int] = (0, 0, 0, 0),
    gain: float = 1.0,
) -> tf.Tensor:
    """Upsample by zero insertion, pad, convolve every channel with `kernel`, downsample.

    x: [B, H, W, C] of float32, bfloat16 or float16 (sums are float32 throughout). `up` and `down`
    are an int or a (y, x) pair; `padding` is (top, bottom, left, right), negative values crop.
    `kernel` is a constant array, [kh, kw] or [n] for its outer product, applied as a true
    convolution (flipped) and not normalised. Returns [B, Ho, Wo, C] with
    Ho = (H * up + top + bottom - kh) // down + 1. Differentiable to any order.
    """
    x = _check_float(x, "upfirdn2d")
    if x.shape.rank != 4:
        raise ValueError(f"upfirdn2d: x must be [B, H, W, C], not shape {x.shape}")
    resampling = make_resampling(kernel, up=up, down=down, padding=padding, gain=gain)
    if x.shape[1] is not None and x.shape[2] is not None:
        resampling.output_size(x.shape[1], x.shape[2])
    return live_operations().upfirdn2d(x, resampling)


@tf.autograph.experimental.do_not_convert
def bias_act(
    x: tf.Tensor,
    bias: tf.Tensor | None = None,
    *,
    activation: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> tf.Tensor:
    """Return clip(gain * activation(x + bias), -clamp, clamp).

    x: [..., C] of float32, bfloat16 or float16; bias: [C], of any float type, or None. `alpha` (the
    slope of lrelu below 0) and `gain` default to the activation's own (see `activation_gain`);
    without `clamp` nothing is clipped. Differentiable to any order.
    """
    x = _check_float(x, "bias_act")
    if bias is not None:
        bias = tf.convert_to_tensor(bias)
        if bias.shape.rank != 1 or not bias.shape.is_compatible_with(x.shape[-1:]):
            raise ValueError(f"bias_act: bias {bias.shape} does not fit the last axis of {x.shape}")
    found = find_activation(activation)
    return live_operations().bias_act(
        x,
        bias,
        activation=activation,
        alpha=found.alpha if alpha is None else float(alpha),
        gain=found.gain if gain is None else float(gain),
        clamp=None if clamp is None else float(clamp),
    )


@tf.autograph.experimental.do_not_convert
def scale_channels(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Multiply every channel of every sample by a number of its own (modulation).

    x: [B, ..., C] of float32, bfloat16 or float16, scale: [B, C] of any float type. Returns the
    shape and type of x. On CPUs value and gradient take one pass each. Differentiable to any order.
    """
    x, scale = _check_float(x, "scale_channels"), tf.convert_to_tensor(scale)
    fits = scale.shape.rank == 2 and (x.shape.rank or 0) >= 2
    if not fits or not scale.shape.is_compatible_with([x.shape[0], x.shape[-1]]):
        raise ValueError(f"scale_channels: scale {scale.shape} is not [B, C] of x {x.shape}")
    return live_operations().scale_channels(x, scale)


def _check_float(x: tf.Tensor, where: str) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    if x.dtype not in FLOAT_TYPES:
        raise TypeError(f"{where}: x must be float32, bfloat16 or float16, not {x.dtype.name}")
    return x
