"""The public operations: check the arguments, call the implementation that is live."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dnnlib.ops.activations import find_activation
from dnnlib.ops.epilogue import Epilogue
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
    x = _check_float(x, "scale_channels")
    return live_operations().scale_channels(x, _check_scale(x, scale, "scale_channels"))


@tf.autograph.experimental.do_not_convert
def finish_layer(x: tf.Tensor, epilogue: Epilogue, *, scale: tf.Tensor | None = None) -> tf.Tensor:
    """Return gain * activation(x * scale + noise + bias), see `Epilogue`.

    x: [B, ..., C] of float32, bfloat16 or float16; scale: [B, C] of any float type, or None: 1.
    Returns the shape and type of x. On CPUs value and gradient take one pass each where there is a
    scale and the activation is "linear" or "lrelu". Differentiable to any order.
    """
    x = _check_float(x, "finish_layer")
    _check_epilogue(x, epilogue, "finish_layer")
    if scale is not None:
        scale = _check_scale(x, scale, "finish_layer")
    return live_operations().finish_layer(x, epilogue, scale)


@tf.autograph.experimental.do_not_convert
def conv3x3(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate with zeros around x.  x: [B, H, W, I], weights: [3, 3, I, O] -> [B, H, W, O].

    On CPUs by a fast algorithm (Lavin & Gray, 2016) that needs a quarter of the multiplications and
    rounds differently: in float32, errors are about 1e-5 of the largest value. (Not in bfloat16 on
    processors with AMX.) Differentiable to any order.
    """
    x, weights = tf.convert_to_tensor(x), tf.convert_to_tensor(weights)
    if weights.shape.rank != 4 or weights.shape[:2] != [3, 3] or weights.shape[2] != x.shape[-1]:
        raise ValueError(f"conv3x3: weights {weights.shape} do not fit x {x.shape}")
    return live_operations().conv3x3(x, weights)


@tf.autograph.experimental.do_not_convert
def sample_conv2d(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate each sample with weights of its own, zeros around x; for few outputs.

    x: [B, H, W, I] of float32, bfloat16 or float16, weights: float32 [B, n, n, I, O] with an odd n
    -> float32 [B, H, W, O]. Differentiable to any order.
    """
    x, weights = _check_float(x, "sample_conv2d"), tf.convert_to_tensor(weights)
    good = x.shape.rank == 4 and weights.shape.rank == 5
    good = good and weights.shape[1] == weights.shape[2] and weights.shape[1] % 2 == 1
    if not good or not weights.shape[:4:3].is_compatible_with(x.shape[::3]):
        raise ValueError(f"sample_conv2d: weights {weights.shape} do not fit x {x.shape}")
    return live_operations().sample_conv2d(x, weights)


@tf.autograph.experimental.do_not_convert
def attention_probabilities(
    x: tf.Tensor,
    weights: tf.Tensor,
    row_scores: tf.Tensor,
    column_scores: tf.Tensor,
    *,
    heads: int = 1,
) -> tf.Tensor:
    """Return how much each position attends to each target, float32 [B, F, A T].

    The positions form a grid of R rows and N columns, F = R N. For position (r, n) this is the
    softmax of x[r, n] weights^T + row_scores[r] + column_scores[n] over the T targets of each of
    the A heads.

    x: [B, F, C] of float32, bfloat16 or float16; weights: [B, A T, C], row_scores: [B, R, A T] and
    column_scores: [B, N, A T], float32. Differentiable to any order.
    """
    arguments = _check_attention(
        "attention_probabilities", heads, x, weights, row_scores, column_scores
    )
    return live_operations().attention_probabilities(*arguments, heads=heads)


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

    u is x * scale, with `normalize` divided by its root mean square over C. The probabilities are
    `attention_probabilities` of the first arguments; x there is not multiplied by scale. With
    `epilogue` the features are what that makes of the product. On CPUs value and gradient read the
    features once.

    x: [B, F, C] of float32, bfloat16 or float16; scale: [B, C], values: [B, A T + 1, C], float32.
    Returns the shape and type of x, and the probabilities, float32 [B, F, A T]. Differentiable to
    any order.
    """
    arguments = _check_attention("attention_gain", heads, x, weights, row_scores, column_scores)
    scale, values = map(tf.convert_to_tensor, (scale, values))
    channels, targets = arguments[0].shape[2], arguments[1].shape[1]
    if scale.shape[1:] != [channels] or values.shape[1:] != [targets + 1, channels]:
        raise ValueError(
            f"attention_gain: scale {scale.shape} and values {values.shape} do not fit "
            f"x {arguments[0].shape} and weights {arguments[1].shape}"
        )
    if epilogue is not None:
        _check_epilogue(arguments[0], epilogue, "attention_gain")
    return live_operations().attention_gain(
        *arguments, scale, values, heads=heads, normalize=normalize, epilogue=epilogue
    )


def _check_scale(x: tf.Tensor, scale: tf.Tensor, where: str) -> tf.Tensor:
    scale = tf.convert_to_tensor(scale)
    fits = scale.shape.rank == 2 and (x.shape.rank or 0) >= 2
    if not fits or not scale.shape.is_compatible_with([x.shape[0], x.shape[-1]]):
        raise ValueError(f"{where}: scale {scale.shape} is not [B, C] of x {x.shape}")
    return scale


def _check_epilogue(x: tf.Tensor, epilogue: Epilogue, where: str) -> None:
    noise, bias = epilogue.noise, epilogue.bias
    if not bias.shape.is_compatible_with(x.shape[-1:]):
        raise ValueError(f"{where}: bias {bias.shape} does not fit the last axis of x {x.shape}")
    if noise is None:
        return
    samples = x.shape[0] if noise.shape[0] != 1 else 1
    if not noise.shape.is_compatible_with([samples, *x.shape[1:-1], 1]):
        raise ValueError(f"{where}: noise {noise.shape} is not [B or 1, ..., 1] of x {x.shape}")


def _check_attention(where: str, heads: int, *arguments) -> list[tf.Tensor]:
    """Return x, weights, row_scores and column_scores as tensors that fit together."""
    x = _check_float(arguments[0], where)
    weights, row_scores, column_scores = map(tf.convert_to_tensor, arguments[1:])
    targets = weights.shape[1]
    positions = row_scores.shape[1] * column_scores.shape[1]
    good = x.shape[1:] == [positions, weights.shape[2]] and targets % heads == 0
    if not good or {row_scores.shape[2], column_scores.shape[2]} != {targets}:
        raise ValueError(
            f"{where}: weights {weights.shape}, row_scores {row_scores.shape} and "
            f"column_scores {column_scores.shape} do not fit x {x.shape}"
        )
    return [x, weights, row_scores, column_scores]


def _check_float(x: tf.Tensor, where: str) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    if x.dtype not in FLOAT_TYPES:
        raise TypeError(f"{where}: x must be float32, bfloat16 or float16, not {x.dtype.name}")
    return x
