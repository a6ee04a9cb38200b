"""The operations in plain TensorFlow: the tested definition, and the automatic fallback.

TensorFlow differentiates these functions itself, to any order. 16-bit inputs are computed in
float32 and rounded once at the end, as the native kernels do; convolutions and matrix products stay
in 16 bit, where processors have instructions for them. The forms below were the fastest of those
measured on CPUs (banded matrix products and shifted sums were 3 to 30 times slower).
"""

import numpy as np
import tensorflow as tf

from dnnlib.ops.activations import find_activation
from dnnlib.ops.epilogue import Epilogue
from dnnlib.ops.resample_geometry import Resampling


def upfirdn2d(x: tf.Tensor, resampling: Resampling) -> tf.Tensor:
    """Apply `resampling` to every channel.  x: [B, H, W, C] -> [B, Ho, Wo, C]."""
    computed = tf.cast(x, tf.float32)
    if resampling.up[0] == resampling.up[1] > 1 and resampling.down == (1, 1):
        y = _upsample(computed, resampling)
    else:
        y = _insert_zeros(computed, resampling.up)  # [B, H*up, W*up, C]
        y = _correlate(_pad_or_crop(y, resampling.padding), resampling)
    return tf.cast(y, x.dtype)


def bias_act(
    x: tf.Tensor,
    bias: tf.Tensor | None,
    *,
    activation: str,
    alpha: float,
    gain: float,
    clamp: float | None,
) -> tf.Tensor:
    """Return clip(gain * activation(x + bias), -clamp, clamp).  x: [..., C], bias: [C]."""
    find_activation(activation)
    y = tf.cast(x, tf.float32)
    if bias is not None:
        y = y + tf.cast(bias, tf.float32)
    y = _ACTIVATE[activation](y, alpha)
    if gain != 1.0:
        y = y * gain
    if clamp is not None:
        y = tf.clip_by_value(y, -clamp, clamp)
    return tf.cast(y, x.dtype)


def scale_channels(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return x * scale.  x: [B, ..., C], scale: [B, C]."""
    shape = tf.shape(scale)
    ones = [1] * (x.shape.rank - 2)
    spread = tf.reshape(scale, [shape[0], *ones, shape[1]])  # [B, 1, ..., C]
    return tf.cast(tf.cast(x, tf.float32) * tf.cast(spread, tf.float32), x.dtype)


def finish_layer(x: tf.Tensor, epilogue: Epilogue, scale: tf.Tensor | None) -> tf.Tensor:
    """Return gain * activation(x * scale + noise + bias).  x: [B, ..., C], scale: [B, C]."""
    y = tf.cast(x, tf.float32)
    y = y if scale is None else scale_channels(y, scale)
    return tf.cast(epilogue.apply(y, bias_act), x.dtype)


def conv3x3(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate, zeros around x.  x: [B, H, W, I], weights: [3, 3, I, O] -> [B, H, W, O]."""
    return tf.nn.conv2d(x, weights, strides=1, padding="SAME")


def sample_conv2d(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate each sample with its own weights.  weights: [B, n, n, I, O] -> float32.

    A product with the weights of all taps at once, whose results are then moved and added up.
    """
    size, _, inputs, outputs = weights.shape[1:]
    _, height, width, _ = _shape(x)
    by_input = tf.reshape(weights, [-1, size * size, inputs, outputs])
    by_input = tf.reshape(tf.transpose(by_input, [0, 2, 1, 3]), [-1, inputs, size**2 * outputs])
    pixels = tf.reshape(tf.cast(x, tf.float32), [-1, height * width, inputs])
    products = tf.reshape(tf.matmul(pixels, by_input), [-1, height, width, size**2 * outputs])
    return products if size == 1 else _sum_taps(products, size)


def _sum_taps(products: tf.Tensor, size: int) -> tf.Tensor:
    """Return the sums over n x n taps of what is at their place, [B, H, W, n n O] -> [B, H, W, O].

    TensorFlow's own gradient would take a picture of its own for each tap.
    """

    @tf.custom_gradient
    def apply(products):
        outputs = products.shape[3] // size**2
        places = [slice(tap * outputs, (tap + 1) * outputs) for tap in range(size**2)]
        return tf.add_n(_move_to_taps(products, size, places)), lambda dy: _spread_taps(dy, size)

    return apply(products)


def _spread_taps(y: tf.Tensor, size: int) -> tf.Tensor:
    """Return the adjoint of `_sum_taps`, each tap's place in y: [B, H, W, n n O]."""

    @tf.custom_gradient
    def apply(y):
        moved = _move_to_taps(y, size, [slice(None)] * size**2)
        return tf.concat(moved[::-1], axis=3), lambda v: _sum_taps(v, size)

    return apply(y)


def _move_to_taps(x: tf.Tensor, size: int, channels: list[slice]) -> list[tf.Tensor]:
    """Return what n x n taps meet at each position, of some channels for each tap."""
    _, height, width, _ = _shape(x)
    padded = _pad_or_crop(x, (size // 2,) * 4)
    return [
        padded[:, i : i + height, j : j + width, channels[size * i + j]]
        for i in range(size)
        for j in range(size)
    ]


def strided_conv2d(x: tf.Tensor, weights: tf.Tensor, factor: int) -> tf.Tensor:
    """Cross-correlate and keep every factor-th sample.  weights: [c, c, I, O]; no padding."""
    return tf.nn.conv2d(x, weights, factor, "VALID")


def transposed_conv2d(x: tf.Tensor, weights: tf.Tensor, factor: int) -> tf.Tensor:
    """Insert factor - 1 zeros between samples and correlate fully with `weights` [c, c, I, O].

    [B, H, W, I] -> [B, (H - 1) * factor + c, (W - 1) * factor + c, O].
    """
    size, outputs = weights.shape[0], weights.shape[3]
    batch, in_height, in_width, _ = _shape(x)
    height, width = (in_height - 1) * factor + size, (in_width - 1) * factor + size
    shape = [batch, height, width, outputs]
    # conv2d_transpose is the adjoint of a correlation, so its filter runs the other way round.
    return tf.nn.conv2d_transpose(x, turned(weights), shape, factor, "VALID")


def turned(weights: tf.Tensor) -> tf.Tensor:
    """Return the weights of the adjoint of a correlation.  [c, c, I, O] -> [c, c, O, I].

    By whole taps: weights[::-1, ::-1] takes longer than the convolution of a small picture.
    """
    size, _, inputs, outputs = weights.shape
    taps = tf.unstack(tf.reshape(weights, [size * size, inputs, outputs]))
    flipped = tf.transpose(tf.stack(taps[::-1]), [0, 2, 1])
    return tf.reshape(flipped, [size, size, outputs, inputs])


def attention_probabilities(
    x: tf.Tensor,
    weights: tf.Tensor,
    row_scores: tf.Tensor,
    column_scores: tf.Tensor,
    *,
    heads: int,
) -> tf.Tensor:
    """Return the softmax of x weights^T + row_scores + column_scores over each head's targets."""
    scores = tf.cast(tf.matmul(x, tf.cast(weights, x.dtype), transpose_b=True), tf.float32)
    offsets = row_scores[:, :, None] + column_scores[:, None]  # [B, R, N, A T]
    scores += tf.reshape(offsets, tf.shape(scores))
    by_head = tf.reshape(scores, [-1, scores.shape[1], heads, scores.shape[2] // heads])
    return tf.reshape(tf.nn.softmax(by_head), tf.shape(scores))


def attention_gain(
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
    """Return u * ([probabilities | 1] values), u = x * scale or its direction; probabilities."""
    shares = attention_probabilities(x, weights, row_scores, column_scores, heads=heads)
    u = tf.cast(x, tf.float32) * scale[:, None]
    left = tf.concat([shares, tf.ones_like(shares[:, :, :1])], axis=2)
    if normalize:  # one number for each position: it enters the same product
        power = tf.reduce_mean(tf.square(u), axis=2, keepdims=True)
        left *= tf.math.rsqrt(power + 1e-8)
    gain = tf.matmul(tf.cast(left, x.dtype), tf.cast(values, x.dtype))
    y = u * tf.cast(gain, tf.float32)
    y = y if epilogue is None else epilogue.apply(y, bias_act)
    return tf.cast(y, x.dtype), shares


_ACTIVATE = {
    "linear": lambda x, alpha: x,
    "relu": lambda x, alpha: tf.nn.relu(x),
    "lrelu": lambda x, alpha: tf.nn.leaky_relu(x, alpha),
    "tanh": lambda x, alpha: tf.tanh(x),
    "sigmoid": lambda x, alpha: tf.sigmoid(x),
    "elu": lambda x, alpha: tf.nn.elu(x),
    "selu": lambda x, alpha: tf.nn.selu(x),
    "softplus": lambda x, alpha: tf.nn.softplus(x),
    "swish": lambda x, alpha: tf.sigmoid(x) * x,
}


def _insert_zeros(x: tf.Tensor, up: tuple[int, int]) -> tf.Tensor:
    if up == (1, 1):
        return x
    batch, height, width, channels = _shape(x)
    x = tf.reshape(x, [batch, height, 1, width, 1, channels])
    x = tf.pad(x, [[0, 0], [0, 0], [0, up[0] - 1], [0, 0], [0, up[1] - 1], [0, 0]])
    return tf.reshape(x, [batch, height * up[0], width * up[1], channels])


def _pad_or_crop(x: tf.Tensor, padding: tuple[int, int, int, int]) -> tf.Tensor:
    top, bottom, left, right = padding
    if min(padding) < 0:
        batch, height, width, channels = _shape(x)
        begin = [0, max(-top, 0), max(-left, 0), 0]
        kept_height = height - begin[1] - max(-bottom, 0)
        kept_width = width - begin[2] - max(-right, 0)
        x = tf.slice(x, begin, [batch, kept_height, kept_width, channels])
    if max(padding) > 0:
        rows, columns = [max(top, 0), max(bottom, 0)], [max(left, 0), max(right, 0)]
        x = tf.pad(x, [[0, 0], rows, columns, [0, 0]])
    return x


def _correlate(x: tf.Tensor, resampling: Resampling) -> tf.Tensor:
    """Convolve without padding, keeping every down-th sample.  [B, H, W, C] -> [B, Ho, Wo, C]."""
    down_y, down_x = resampling.down
    weights = _per_channel(resampling.kernel[::-1, ::-1], x.shape[-1])
    if down_y == down_x:  # the only strides that TensorFlow's depthwise convolution knows
        return tf.nn.depthwise_conv2d(x, weights, [1, down_y, down_x, 1], "VALID")
    return tf.nn.depthwise_conv2d(x, weights, [1, 1, 1, 1], "VALID")[:, ::down_y, ::down_x, :]


def _upsample(x: tf.Tensor, resampling: Resampling) -> tf.Tensor:
    """Upsample by the adjoint of a strided convolution, which skips the inserted zeros."""
    batch, height, width, channels = _shape(x)
    factor, (kernel_height, kernel_width) = resampling.up[0], resampling.kernel.shape
    full_height = (height - 1) * factor + kernel_height
    full_width = (width - 1) * factor + kernel_width
    y = tf.nn.depthwise_conv2d_backprop_input(
        [batch, full_height, full_width, channels],
        _per_channel(resampling.kernel, channels),
        x,
        [1, factor, factor, 1],
        "VALID",
    )
    # The full result starts kernel - 1 samples early and lacks the zeros after the last sample.
    top, bottom, left, right = resampling.padding
    rows = [top - kernel_height + 1, bottom - kernel_height + factor]
    columns = [left - kernel_width + 1, right - kernel_width + factor]
    return _pad_or_crop(y, (rows[0], rows[1], columns[0], columns[1]))


def _per_channel(kernel: np.ndarray, channels: int) -> tf.Tensor:
    return tf.constant(np.tile(kernel[:, :, None, None], (1, 1, channels, 1)))  # [kh, kw, C, 1]


def _shape(x: tf.Tensor) -> list:
    """The static shape, with scalars of the dynamic shape where that is unknown."""
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]
