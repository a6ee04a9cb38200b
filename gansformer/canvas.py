"""The grids on which the networks work: squares, or central rows of squares."""

import dataclasses
import math
from typing import Any

from dnnlib.errors import UserError


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The grid at each resolution: 2^r columns, and all or the central `crop_ratio` of its rows."""

    resolution: int
    crop_ratio: float | None = None

    def __post_init__(self):
        log2 = int(self.resolution).bit_length() - 1
        if self.resolution != 2**log2 or not 3 <= log2 <= 11:
            raise UserError(
                f"resolution {self.resolution} is not possible; use a power of two from 8 to 2048"
            )
        if self.crop_ratio is not None and not 0 < self.crop_ratio <= 1:
            raise UserError(f"crop_ratio {self.crop_ratio} is not between 0 and 1")
        heights = [self.shape(2**r)[0] for r in range(2, log2 + 1)]
        if any(2 * small != large for small, large in zip(heights, heights[1:], strict=False)):
            raise UserError(
                f"crop_ratio {self.crop_ratio} gives grids of {', '.join(map(str, heights))} rows, "
                "which do not double; use 0.5, or leave it out: other ratios are trained as padded "
                "squares, which need no option"
            )

    @property
    def log2(self) -> int:
        """R, log2 of the resolution."""
        return self.resolution.bit_length() - 1

    def rows(self, size: int) -> slice:
        """Return the rows kept of a square grid of `size` rows."""
        ratio = self.crop_ratio or 1.0
        return slice(math.floor((1 - ratio) * size / 2), math.ceil((1 + ratio) * size / 2))

    def crop(self, images: Any) -> Any:
        """Return the rows of this canvas of square images [B, S, S, C], arrays or tensors."""
        return images if self.crop_ratio is None else images[:, self.rows(images.shape[1])]

    def shape(self, size: int) -> tuple[int, int]:
        """Return (rows, columns) of the grid whose square has `size` rows."""
        rows = self.rows(size)
        return rows.stop - rows.start, size


def channels_at(log2: int, *, base: int, maximum: int) -> int:
    """Return the number of feature maps at 2^log2 pixels: min(base / 2^(log2-1), maximum)."""
    return min(base // 2 ** (log2 - 1), maximum)
