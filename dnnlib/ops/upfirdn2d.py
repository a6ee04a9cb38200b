"""upfirdn2d: zero insertion, padding, FIR filter and decimation in one op.

It is linear, and its adjoint is another upfirdn2d, so it is differentiable to any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.ops.library import native_kernels
from dnnlib.ops.tensors import as_float_tensor, shape_of

MAXIMUM_TAPS = 576  # kMaximumTaps in src/upfirdn2d/upfirdn2d.h
Pair = int | Sequence[int]


@tf.autograph.experimental.do_not_convert
def upfirdn2d(
    x: tf.Tensor,
    kernel: np.ndarray,
    *,
    up: Pair = 1,
    down: Pair = 1,
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
    x = as_float_tensor(x, "upfirdn2d")
    if x.shape.rank != 4:
        raise ValueError(f"upfirdn2d: x must be [B, H, W, C], not shape {x.shape}")
    resampling = make_resampling(kernel, up=up, down=down, padding=padding, gain=gain)
    if x.shape[1] is not None and x.shape[2] is not None:
        resampling.output_size(x.shape[1], x.shape[2])
    kernels = native_kernels("upfirdn2d", cuda=True)
    if kernels is None or x.shape[1] is None or x.shape[2] is None:
        return plain_upfirdn2d(x, resampling)
    return _native_upfirdn2d(kernels, x, resampling)


@dataclass(frozen=True)
class Resampling:
    """Insert zeros (`up`), pad or crop, convolve with `kernel`, keep every `down`-th sample.

    `up` and `down` are (y, x), `padding` is (top, bottom, left, right) and may be negative.
    `kernel` is [kh, kw] float32 with the gain already in it; true convolution, so it is flipped
    relative to what tf.nn calls a convolution.
    """

    kernel: np.ndarray
    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the result for an input of `height` x `width`."""
        sizes = []
        for axis, size in enumerate((height, width)):
            before, after = self.padding[2 * axis : 2 * axis + 2]
            span = size * self.up[axis] + before + after - self.kernel.shape[axis]
            sizes.append(span // self.down[axis] + 1)
        if min(sizes) < 1:
            raise ValueError(
                f"upfirdn2d: a {height} x {width} input with padding {self.padding}, up {self.up} "
                f"is smaller than the {self.kernel.shape} filter; add padding or enlarge it"
            )
        return sizes[0], sizes[1]


def make_resampling(
    kernel: np.ndarray, *, up: Pair, down: Pair, padding: Sequence[int], gain: float
) -> Resampling:
    """Check the arguments of upfirdn2d and gather them."""
    return Resampling(
        kernel=_square_kernel(kernel) * np.float32(gain),
        up=_factor_pair(up, "up"),
        down=_factor_pair(down, "down"),
        padding=_four_paddings(padding),
    )


def _square_kernel(kernel: np.ndarray) -> np.ndarray:
    if not isinstance(kernel, (np.ndarray, list, tuple)):
        raise TypeError(
            f"upfirdn2d: the filter is a constant NumPy array, not {type(kernel).__name__}"
        )
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim == 1:
        kernel = np.outer(kernel, kernel)  # [n] -> [n, n]
    if kernel.ndim != 2 or kernel.size == 0:
        raise ValueError(f"upfirdn2d: the filter must have 1 or 2 axes, not shape {kernel.shape}")
    return kernel


def _factor_pair(factor: Pair, name: str) -> tuple[int, int]:
    pair = (factor, factor) if isinstance(factor, (int, np.integer)) else tuple(factor)
    if len(pair) != 2 or any(int(f) != f or f < 1 for f in pair):
        raise ValueError(f"upfirdn2d: {name} must be an integer >= 1 or a (y, x) pair, not {pair}")
    return int(pair[0]), int(pair[1])


def _four_paddings(padding: Sequence[int]) -> tuple[int, int, int, int]:
    if len(padding) != 4:
        raise ValueError(f"upfirdn2d: padding is (top, bottom, left, right), not {padding}")
    top, bottom, left, right = (int(p) for p in padding)
    return top, bottom, left, right


def plain_upfirdn2d(x: tf.Tensor, resampling: Resampling) -> tf.Tensor:
    """Apply `resampling` to every channel, in float32.  x: [B, H, W, C] -> [B, Ho, Wo, C]."""
    y = _insert_zeros(tf.cast(x, tf.float32), resampling.up)  # [B, H*up, W*up, C]
    y = _correlate(_pad_or_crop(y, resampling.padding), resampling)
    return tf.cast(y, x.dtype)


def _insert_zeros(x: tf.Tensor, up: tuple[int, int]) -> tf.Tensor:
    if up == (1, 1):
        return x
    batch, height, width, channels = shape_of(x)
    # Rows, then columns: LiteRT pads no tensors of six axes.
    x = tf.reshape(x, [batch, height, 1, width, channels])
    x = tf.pad(x, [[0, 0], [0, 0], [0, up[0] - 1], [0, 0], [0, 0]])
    x = tf.reshape(x, [batch, height * up[0], width, 1, channels])
    x = tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, up[1] - 1], [0, 0]])
    return tf.reshape(x, [batch, height * up[0], width * up[1], channels])


def _pad_or_crop(x: tf.Tensor, padding: tuple[int, int, int, int]) -> tf.Tensor:
    top, bottom, left, right = padding
    if min(padding) < 0:
        batch, height, width, channels = shape_of(x)
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
    flipped = resampling.kernel[::-1, ::-1, None, None]
    weights = tf.constant(np.tile(flipped, (1, 1, x.shape[-1], 1)))  # [kh, kw, C, 1]
    if down_y == down_x:  # the only strides that TensorFlow's depthwise convolution knows
        return tf.nn.depthwise_conv2d(x, weights, [1, down_y, down_x, 1], "VALID")
    return tf.nn.depthwise_conv2d(x, weights, [1, 1, 1, 1], "VALID")[:, ::down_y, ::down_x, :]


def _native_upfirdn2d(kernels: Any, x: tf.Tensor, resampling: Resampling) -> tf.Tensor:
    taps, separable = _flipped_taps(resampling.kernel.tobytes(), resampling.kernel.shape)
    if len(taps) > MAXIMUM_TAPS:
        return plain_upfirdn2d(x, resampling)
    out_height, out_width = resampling.output_size(x.shape[1], x.shape[2])

    @tf.custom_gradient
    def apply(x):
        y = kernels.gansformer_upfirdn2d(
            x=x,
            taps=taps,
            kernel_height=resampling.kernel.shape[0],
            kernel_width=resampling.kernel.shape[1],
            separable=separable,
            up=resampling.up,
            down=resampling.down,
            padding=resampling.padding,
            out_height=out_height,
            out_width=out_width,
        )
        adjoint = _adjoint(resampling, x.shape[1:3], (out_height, out_width))
        return y, lambda dy: _native_upfirdn2d(kernels, dy, adjoint)

    return apply(x)


@lru_cache(maxsize=256)
def _flipped_taps(content: bytes, shape: tuple[int, int]) -> tuple[list[float], bool]:
    """The flipped filter as the kernels want it, and whether it is column + row of a product."""
    kernel = np.frombuffer(content, np.float32).reshape(shape)[::-1, ::-1].astype(np.float64)
    columns, sizes, rows = np.linalg.svd(kernel)
    if len(sizes) > 1 and sizes[1] > 1e-6 * sizes[0]:
        return [float(tap) for tap in kernel.ravel()], False
    scale = np.sqrt(sizes[0]) * np.sign(columns[:, 0].sum() or 1.0)  # both factors positive
    factors = np.concatenate([columns[:, 0] * scale, rows[0] * scale])
    return [float(tap) for tap in factors], True


def _adjoint(resampling: Resampling, in_size, out_size) -> Resampling:
    """The upfirdn2d that sends a gradient of the output (`out_size`) back to the input."""
    padding = []
    for axis in range(2):
        taps, before = resampling.kernel.shape[axis], resampling.padding[2 * axis]
        span = (in_size[axis] - 1) * resampling.up[axis] + 1  # without trailing zeros
        padding += [taps - 1 - before, span - out_size[axis] * resampling.down[axis] + before]
    return Resampling(
        kernel=np.ascontiguousarray(resampling.kernel[::-1, ::-1]),
        up=resampling.down,
        down=resampling.up,
        padding=tuple(padding),
    )
