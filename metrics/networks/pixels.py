"""Features that need no weights: patches of frequency bands, and the coarse layout of images.

They stand beside the feature networks and are used like them.
"""

import hashlib
import zlib

import numpy as np

from dnnlib.errors import UserError
from dnnlib.images import to_rgb
from metrics.laplacian import LOWEST, laplacian_pyramid

PATCHES = 128  # of each image and level
PATCH = 7  # pixels wide and high
LAYOUT = 8  # cells wide and high


class PatchDescriptors:
    """Random patches of each level of an image's Laplacian pyramid (Karras et al. 2018, section 5).

    Where they lie in an image is a function of its pixels. They are kept as float16, which is
    a thousandth of the noise of choosing them.
    """

    name = "patches"
    dimensions = {"patches": PATCH * PATCH * 3}
    devices = 1
    preprocessing = (
        f"{PATCHES} random {PATCH}x{PATCH} patches of each level of a Laplacian pyramid, "
        f"from {LOWEST} pixels up"
    )

    def __init__(self):
        self.digest = _digest(self.preprocessing)

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the patches [B, levels, PATCHES, pixels, 3] of images uint8 [B, H, W, C]."""
        images = to_rgb(np.asarray(images))
        if min(images.shape[1:3]) < PATCH:
            height, width = images.shape[1:3]
            raise UserError(f"images of {height}x{width} pixels hold no patch of {PATCH}x{PATCH}")
        randoms = [np.random.default_rng(zlib.crc32(image.tobytes())) for image in images]
        levels = [_cut(level, randoms) for level in laplacian_pyramid(images)]
        return {"patches": np.stack(levels, axis=1)}


def _cut(level: np.ndarray, randoms: list[np.random.Generator]) -> np.ndarray:
    """Return random patches [B, PATCHES, pixels, 3] of a level [B, h, w, 3]."""
    rows, columns = (side - PATCH + 1 for side in level.shape[1:3])
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(1, 2))
    places = np.stack([random.integers([rows, columns], size=[PATCHES, 2]) for random in randoms])
    image = np.arange(len(level))[:, None]
    patches = windows[image, places[..., 0], places[..., 1]]  # [B, PATCHES, 3, PATCH, PATCH]
    pixels = np.moveaxis(patches, 2, -1).reshape(*places.shape[:2], PATCH * PATCH, 3)
    return pixels.astype(np.float16)


class Layout:
    """The mean colours of 8x8 equal cells of an image, in [-1, 1]: where dark and light lie."""

    name = "layout"
    dimensions = {"cells": LAYOUT * LAYOUT * 3}
    devices = 1
    preprocessing = f"averaged to {LAYOUT}x{LAYOUT}, from -1 to 1"

    def __init__(self):
        self.digest = _digest(self.preprocessing)

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the means [B, 8 * 8 * 3] of images uint8 [B, H, W, C]."""
        images = to_rgb(np.asarray(images)).astype(np.float32) / 127.5 - 1
        rows, columns = (_cell_weights(side) for side in images.shape[1:3])
        cells = np.einsum("ih,bhwc->biwc", rows, images)
        cells = np.einsum("jw,biwc->bijc", columns, cells)
        return {"cells": cells.reshape(len(images), -1)}


def _cell_weights(size: int) -> np.ndarray:
    """Return [8, size]: the share of each pixel in each of 8 equal cells along a side."""
    edges = np.arange(LAYOUT + 1) * (size / LAYOUT)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (LAYOUT / size)).astype(np.float32)


def _digest(description: str) -> str:
    return hashlib.sha256(description.encode()).hexdigest()
