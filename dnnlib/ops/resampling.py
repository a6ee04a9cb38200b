"""Image resampling built on upfirdn2d (StyleGAN2's low-pass filtered up- and downsampling), NHWC.

A filter given as a vector stands for its outer product; every filter is divided by its sum here.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dnnlib.ops.convolution import conv1x1, strided_conv2d, transposed_conv2d
from dnnlib.ops.upfirdn2d import upfirdn2d

Taps = Sequence[float] | np.ndarray


def setup_kernel(taps: Taps) -> np.ndarray:
    """Return the square filter with sum 1 that `taps` (a vector or a square) stands for."""
    kernel = np.asarray(taps, np.float32)
    if kernel.ndim == 1:
        kernel = np.outer(kernel, kernel)  # [n] -> [n, n]
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.size == 0:
        raise ValueError(f"a resampling filter is a vector or a square, not shape {kernel.shape}")
    return (kernel / np.sum(kernel)).astype(np.float32)


def filter2d(x: tf.Tensor, taps: Taps, *, gain: float = 1.0) -> tf.Tensor:
    """Blur without changing the size.  x: [B, H, W, C] -> [B, H, W, C]."""
    kernel = setup_kernel(taps)
    return upfirdn2d(x, kernel, padding=_around(kernel.shape[0] - 1), gain=gain)


def upsample2d(
    x: tf.Tensor, taps: Taps | None = None, *, factor: int = 2, gain: float = 1.0
) -> tf.Tensor:
    """Enlarge `factor` times (default filter: nearest).  [B, H, W, C] -> [B, H*f, W*f, C]."""
    kernel = _kernel_or_box(taps, factor)
    padding = _around(kernel.shape[0] - factor, before=factor - 1)
    return upfirdn2d(x, kernel, up=factor, padding=padding, gain=gain * factor**2)


def downsample2d(
    x: tf.Tensor, taps: Taps | None = None, *, factor: int = 2, gain: float = 1.0
) -> tf.Tensor:
    """Shrink `factor` times (default filter: average).  [B, H, W, C] -> [B, H/f, W/f, C]."""
    kernel = _kernel_or_box(taps, factor)
    padding = _around(kernel.shape[0] - factor)
    return upfirdn2d(x, kernel, down=factor, padding=padding, gain=gain)


def upsample_conv2d(
    x: tf.Tensor,
    weights: tf.Tensor,
    taps: Taps | None = None,
    *,
    factor: int = 2,
    gain: float = 1.0,
) -> tf.Tensor:
    """Upsample, then convolve, as one strided transposed convolution and one blur.

    x: [B, H, W, I], weights: [c, c, I, O] -> [B, H*f, W*f, O].
    """
    x, weights = tf.convert_to_tensor(x), tf.convert_to_tensor(weights)
    size = _square_size(weights)
    kernel = _kernel_or_box(taps, factor)
    gain = gain * factor**2
    if size == 1:  # the filter acts per channel, so it commutes with a pointwise product
        y = conv1x1(x, weights)  # [B, H, W, O]
        padding = _around(kernel.shape[0] - factor, before=factor - 1)
        return upfirdn2d(y, kernel, up=factor, padding=padding, gain=gain)
    # [B, (H-1)*f + c, (W-1)*f + c, O]
    y = transposed_conv2d(x, weights, factor)
    padding = _around(kernel.shape[0] - factor - (size - 1), before=factor - 1, after=1)
    return upfirdn2d(y, kernel, padding=padding, gain=gain)


def conv_downsample2d(
    x: tf.Tensor,
    weights: tf.Tensor,
    taps: Taps | None = None,
    *,
    factor: int = 2,
    gain: float = 1.0,
) -> tf.Tensor:
    """Convolve, then downsample, as one blur and one strided convolution.

    x: [B, H, W, I], weights: [c, c, I, O] -> [B, H/f, W/f, O].
    """
    x, weights = tf.convert_to_tensor(x), tf.convert_to_tensor(weights)
    size = _square_size(weights)
    kernel = _kernel_or_box(taps, factor)
    padding = _around(kernel.shape[0] - factor + size - 1)
    if size == 1:  # compute only the samples that the stride keeps
        y = upfirdn2d(x, kernel, down=factor, padding=padding, gain=gain)  # [B, H/f, W/f, I]
        return conv1x1(y, weights)
    y = upfirdn2d(x, kernel, padding=padding, gain=gain)
    return strided_conv2d(y, weights, factor)


def _kernel_or_box(taps: Taps | None, factor: int) -> np.ndarray:
    return setup_kernel(np.ones(factor, np.float32) if taps is None else taps)


def _around(total: int, *, before: int = 0, after: int = 0) -> tuple[int, int, int, int]:
    """Split `total` samples of padding, the larger half first, and add `before` and `after`."""
    first, last = (total + 1) // 2 + before, total // 2 + after
    return first, last, first, last


def _square_size(weights: tf.Tensor) -> int:
    if len(weights.shape) != 4 or weights.shape[0] != weights.shape[1]:
        raise ValueError(f"weights must be [size, size, in, out], not {tuple(weights.shape)}")
    return int(weights.shape[0])
