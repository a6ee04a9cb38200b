"""The grids on which the networks work: squares, or central rows of squares."""

import dataclasses
import math

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

    @property
    def log2(self) -> int:
        """R, log2 of the resolution."""
        return self.resolution.bit_length() - 1

    def rows(self, size: int) -> slice:
        """Return the rows kept of a square grid of `size` rows."""
        ratio = self.crop_ratio or 1.0
        return slice(math.floor((1 - ratio) * size / 2), math.ceil((1 + ratio) * size / 2))

    def shape(self, size: int) -> tuple[int, int]:
        """Return (rows, columns) of the grid whose square has `size` rows."""
        rows = self.rows(size)
        return rows.stop - rows.start, size


def channels_at(log2: int, *, base: int, maximum: int) -> int:
    """Return the number of feature maps at 2^log2 pixels: min(base / 2^(log2-1), maximum)."""
    return min(base // 2 ** (log2 - 1), maximum)
