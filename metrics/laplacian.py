"""Laplacian pyramids (Burt & Adelson 1983, "The Laplacian Pyramid as a Compact Image Code")."""

import numpy as np

FILTER = np.array([1, 4, 6, 4, 1], np.float32) / 16
LOWEST = 16  # pixels: no level is smaller


def laplacian_pyramid(images: np.ndarray, *, lowest: int = LOWEST) -> list[np.ndarray]:
    """Split images [B, H, W, C] into frequency bands, float32, from the full size down.

    Each level is the difference between the image at that size and the next smaller one enlarged;
    the last level is the smallest image itself. Sizes are halved (rounded up) while height and
    width stay at `lowest` pixels or more.
    """
    image = np.asarray(images, np.float32)
    levels = []
    while min(size := [-(-side // 2) for side in image.shape[1:3]]) >= lowest:
        smaller = reduce_size(image)
        levels.append(image - enlarge(smaller, image.shape[1:3]))
        image = smaller
        assert list(image.shape[1:3]) == size
    return [*levels, image]


def reduce_size(images: np.ndarray) -> np.ndarray:
    """Blur [B, H, W, C] and keep every other row and column."""
    for axis in (1, 2):
        images = _blur(images, axis, step=2)
    return images


def enlarge(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate [B, h, w, C] to `size` (H, W): zeros in between, then blurred."""
    for axis, length in zip((1, 2), size, strict=True):
        shape = list(images.shape)
        shape[axis] = length
        spread = np.zeros(shape, np.float32)
        spread[(slice(None),) * axis + (slice(None, None, 2),)] = images
        images = 2 * _blur(spread, axis)
    return images


def _blur(images: np.ndarray, axis: int, step: int = 1) -> np.ndarray:
    """Filter along one axis, mirrored at the edges, and keep every `step`-th result."""
    length = images.shape[axis]
    margins = [(2, 2) if number == axis else (0, 0) for number in range(images.ndim)]
    padded = np.pad(images, margins, mode="reflect")
    cut = lambda first: (slice(None),) * axis + (slice(first, first + length, step),)  # noqa: E731
    return sum(weight * padded[cut(first)] for first, weight in enumerate(FILTER))
