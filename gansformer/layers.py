"""Dense and convolution layers with the equalised learning rate of Karras et al. (2018).

Weights are stored as N(0, 1 / lr_multiplier^2) and scaled to He's standard deviation when used, so
that Adam's steps are equally large relative to each of them.
"""

import math

import numpy as np
import tensorflow as tf

from dnnlib.ops import (
    activation_gain,
    bias_act,
    conv1x1,
    conv3x3,
    conv_downsample2d,
    matmul_last,
    scale_channels,
    setup_kernel,
    upsample_conv2d,
)
from dnnlib.random_streams import RandomStream
from gansformer.canvas import Canvas
from gansformer.summary import shown
from gansformer.variables import Scope


class Dense(tf.Module):
    """y = activation(x W + b) over the last axis.

    suffix: appended to the variables' names, where several layers share one scope.
    """

    def __init__(
        self,
        scope: Scope,
        inputs: int,
        outputs: int,
        *,
        activation: str = "linear",
        lr_multiplier: float = 1.0,
        gain: float = 1.0,
        bias: bool = True,
        suffix: str = "",
    ):
        super().__init__()
        self.activation = activation
        self.lr_multiplier = lr_multiplier
        self.scale = gain / math.sqrt(inputs) * lr_multiplier
        self.weight = scope.normal(f"weight{suffix}", [inputs, outputs], std=1 / lr_multiplier)
        self.bias = scope.full(f"bias{suffix}", [outputs]) if bias else None

    @shown
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """x: [..., inputs] -> [..., outputs]."""
        y = matmul_last(x, tf.cast(self.weight, x.dtype))
        bias = None if self.bias is None else tf.cast(self.bias, x.dtype)
        scales = {"scale": self.scale, "bias_scale": self.lr_multiplier}
        return bias_act(y, bias, activation=self.activation, **scales)

    def scaled_weight(self) -> tf.Tensor:
        """Return the weight as it is used, [inputs, outputs]."""
        return self.weight * self.scale

    def scaled_bias(self) -> tf.Tensor:
        """Return the bias as it is used, [outputs]."""
        return self.bias if self.lr_multiplier == 1.0 else self.bias * self.lr_multiplier


class Conv(tf.Module):
    """2-D convolution with optional resampling by 2; bias and activation, or neither.

    resample: None, "up" (by 2, then the FIR filter `kernel`) or "down" (FIR filter, then by 2).
    gain: multiplies the output, at no cost. clamp: the output without gain is limited to this.
    """

    def __init__(
        self,
        scope: Scope,
        inputs: int,
        outputs: int,
        size: int,
        *,
        resample: str | None = None,
        kernel: tuple[float, ...] = (1, 3, 3, 1),
        activation: str | None = None,
        gain: float = 1.0,
        clamp: float | None = None,
    ):
        super().__init__()
        self.resample = resample
        self.clamp = None if clamp is None else clamp * gain
        self.kernel = setup_kernel(kernel)
        self.activation, self.gain = activation, gain
        self.scale = 1 / math.sqrt(size * size * inputs) * (1.0 if activation else gain)
        self.weight = scope.normal("weight", [size, size, inputs, outputs])
        self.bias = scope.full("bias", [outputs]) if activation else None

    @shown
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """x: [B, H, W, inputs] -> [B, H', W', outputs]."""
        # Where bias_act can scale, it does so at no cost. Without a scale float16 could overflow.
        is_early = self.activation is None or x.dtype == tf.float16
        weight = tf.cast(self.weight * self.scale if is_early else self.weight, x.dtype)
        y = convolve(x, weight, resample=self.resample, kernel=self.kernel)
        if self.activation is None:
            return y
        return bias_act(
            y,
            tf.cast(self.bias, x.dtype),
            activation=self.activation,
            gain=activation_gain(self.activation) * self.gain,
            clamp=self.clamp,
            scale=1.0 if is_early else self.scale,
        )


class ModulatedConv(tf.Module):
    """Convolution whose input channels are scaled by a style, Karras et al. (2020), section 2.2.

    The style of sample b is s_b = y_b A + c + 1. Its weights are w_b = w s_b (Eq. 1 there), with
    demodulation divided by their norm over inputs and taps (Eq. 3). Computed as scale input,
    convolve with the shared w, scale output: the same up to rounding.
    With style=False the style has no effect; its variables exist in the official checkpoints.
    """

    def __init__(
        self,
        scope: Scope,
        inputs: int,
        outputs: int,
        size: int,
        *,
        w_dim: int,
        style: bool,
        demodulate: bool = True,
        resample: str | None = None,
        kernel: tuple[float, ...] = (1, 3, 3, 1),
    ):
        super().__init__()
        self.resampling = {"resample": resample, "kernel": setup_kernel(kernel)}
        self.style = style
        self.demodulate = demodulate
        self.scale = 1 / math.sqrt(size * size * inputs)
        self.weight = scope.normal("weight", [size, size, inputs, outputs])
        self.modulation = _Modulation(scope, w_dim, inputs)

    @shown
    def __call__(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """x: [B, H, W, inputs], y: [B, w_dim] -> [B, H', W', outputs]."""
        scale, demodulation = self.factors(y)
        x = self.convolve(x, scale)
        return x if demodulation is None else scale_channels(x, demodulation)

    def convolve(self, x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Return [B, H', W', outputs] before demodulation. scale: of the inputs, see `factors`."""
        if not self.style:  # one number for all
            weight = tf.cast(self.weight * self.scale, x.dtype)
            return convolve(x, weight, **self.resampling)
        weight = tf.cast(self.weight, x.dtype)
        return convolve(scale_channels(x, scale), weight, **self.resampling)

    def factors(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return what scales the inputs, [B, inputs], and the outputs, [B, outputs] or None."""
        if not self.style:
            return tf.fill([tf.shape(y)[0], self.weight.shape[2]], self.scale), None
        style = self.modulation(y, self.scale)  # much smaller than the weight
        if not self.demodulate:
            return style, None
        return style, tf.math.rsqrt(tf.matmul(tf.square(style), self.power()) + 1e-8)

    def power(self) -> tf.Tensor:
        """Return the sum of the squares of the weight's taps, [inputs, outputs]."""
        return tf.reduce_sum(tf.square(self.weight), [0, 1])


class _Modulation(tf.Module):
    """From w to the scale of each input channel: a number times y A + b + 1, in float32."""

    def __init__(self, scope: Scope, w_dim: int, outputs: int):
        super().__init__()
        self.scale = 1 / math.sqrt(w_dim)
        self.weight = scope.normal("mod_weight", [w_dim, outputs])
        self.bias = scope.full("mod_bias", [outputs])

    def __call__(self, y: tf.Tensor, factor: float = 1.0) -> tf.Tensor:
        scales = {"scale": self.scale * factor, "bias_scale": factor}
        return bias_act(tf.matmul(y, self.weight), self.bias + 1, **scales)


def convolve(
    x: tf.Tensor, weight: tf.Tensor, *, resample: str | None, kernel: np.ndarray
) -> tf.Tensor:
    """Cross-correlate x [B, H, W, in] with weight [kh, kw, in, out], SAME, resampling by 2."""
    if resample == "up":
        return upsample_conv2d(x, weight, kernel)
    if resample == "down":
        return conv_downsample2d(x, weight, kernel)
    return conv1x1(x, weight) if weight.shape[0] == 1 else conv3x3(x, weight)


def normalize_rms(x: tf.Tensor, axis: int | list[int] = -1) -> tf.Tensor:
    """Return x divided by its root mean square over `axis`."""
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), axis=axis, keepdims=True) + 1e-8)


def limit(x: tf.Tensor, clamp: float | None) -> tf.Tensor:
    """Return x limited to -clamp ... clamp, or x as it is where clamp is None."""
    return x if clamp is None else tf.clip_by_value(x, -clamp, clamp)


def dropout(probabilities: tf.Tensor, rate: float, random: RandomStream | None) -> tf.Tensor:
    """Drop single probabilities of attention, and columns of a head, each at half the rate.

    probabilities: [B, A, N, K]. random: None leaves them as they are.
    """
    if random is None or not rate:
        return probabilities
    _, heads, n, k = probabilities.shape
    keep = 1 - rate / 2
    for name, shape in (("element", [heads, n, k]), ("column", [heads, 1, k])):
        kept = random.fold(name).uniform(shape) < keep
        probabilities *= tf.cast(kept, tf.float32) / keep
    return probabilities


def minibatch_stddev(
    x: tf.Tensor, *, group_size: int, channels: int, batches: int = 1
) -> tf.Tensor:
    """Append the standard deviation over groups of samples, Karras et al. (2018), section 3.

    x: [B, ..., C] -> [B, ..., C + channels]; B must be a multiple of min(group_size, B). Sample g
    of group m is g * (number of groups) + m.
    batches: x holds so many batches of B, one after the other, each with groups of its own.
    """
    shape = tf.shape(x)
    if x.shape[0] is None:
        size = shape[0] // batches
        group = tf.minimum(group_size, size)
        groups = size // group
        tf.debugging.assert_equal(
            groups * group, size, f"the batch does not divide into groups of {group_size}"
        )
    else:  # without a check that waits for the device
        size = x.shape[0] // batches
        group = min(group_size, size)
        groups = size // group
        if groups * group != size:
            raise ValueError(f"the batch does not divide into groups of {group_size}")
    depth = x.shape[-1]
    y = tf.reshape(x, [batches, group, -1, channels, depth // channels])
    y = tf.cast(y, tf.float32)  # [batches, group, M positions, F, C/F]
    y = tf.reduce_mean(tf.square(y - tf.reduce_mean(y, axis=1, keepdims=True)), axis=1)
    y = tf.reshape(tf.sqrt(y + 1e-8), [batches, 1, groups, -1, channels, depth // channels])
    y = tf.reduce_mean(y, axis=[3, 5])  # [batches, 1, M, F]
    y = tf.reshape(y, [batches, 1, groups, 1, channels])
    y = tf.broadcast_to(y, [batches, group, groups, tf.reduce_prod(shape[1:-1]), channels])
    y = tf.reshape(y, tf.concat([shape[:-1], [channels]], 0))
    return tf.concat([x, tf.cast(y, x.dtype)], axis=-1)


def feature_types(canvas: Canvas, dtype: tf.DType, resolutions: int | None) -> dict[int, tf.DType]:
    """Return the type of the feature maps at 2^r pixels for each r.

    dtype: of the highest `resolutions` resolutions (None: of all). The others are float32, as in
      StyleGAN2-ADA: low resolutions cost little and vary most.
    """
    lowest = 2 if resolutions is None else canvas.log2 - resolutions + 1
    return {r: dtype if r >= lowest else tf.float32 for r in range(2, canvas.log2 + 1)}
