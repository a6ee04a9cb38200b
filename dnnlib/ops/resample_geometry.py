"""What one upfirdn2d does, as checked plain numbers: factors, padding, filter, output size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Pair = int | Sequence[int]


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
