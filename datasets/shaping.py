"""From an image of any size to a square one: crop, pad, stretch and resize.

The official program's chain is: centre crop to a ratio (if one is given), black bands to a square,
Lanczos resize. `shape_image` with crop "ratio" (or "pad" without a ratio) is that chain.
"""

import math

import numpy as np
from PIL import Image

from dnnlib.image_files import MAX_PIXELS, require_pixels

CROPS = ("square", "ratio", "pad", "stretch")
FILTERS = ("lanczos", "box", "bicubic", "area")
_PILLOW_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
}


def shape_image(
    image: Image.Image,
    *,
    resolution: int,
    crop: str,
    ratio: float | None,
    filter: str,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Return `image` as a square of `resolution` pixels; ImageError if that takes too many."""
    square = to_square(image, crop=crop, ratio=ratio, max_pixels=max_pixels)
    if filter == "area":
        require_pixels(max(square.size), resolution, max_pixels, what="table of shares")
    return resize(square, resolution, filter=filter)


def to_square(
    image: Image.Image, *, crop: str, ratio: float | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Return a square image ("stretch" leaves that to resizing)."""
    if crop == "stretch":
        return image
    if crop == "square":
        return centre_crop(image, 1.0)
    if crop == "ratio":
        image = centre_crop(image, ratio)
    size = max(image.size)
    require_pixels(size, size, max_pixels, what="square with bands")
    return pad_to_square(image)


def centre_crop(image: Image.Image, ratio: float) -> Image.Image:
    """Return the largest centred part with height = ratio * width (edges cut as officially)."""
    width, height = image.size
    kept_width = min(width, height / ratio)
    kept_height = kept_width * ratio
    box = (
        int((width - kept_width) / 2),
        int((height - kept_height) / 2),
        max(int((width + kept_width) / 2), 1),
        max(int((height + kept_height) / 2), 1),
    )
    return image.crop(box)


def pad_to_square(image: Image.Image) -> Image.Image:
    """Return `image` centred in a black square."""
    width, height = image.size
    size = max(width, height)
    if width == height:
        return image
    square = Image.new(image.mode, (size, size))
    square.paste(image, ((size - width) // 2, (size - height) // 2))
    return square


def resize(image: Image.Image, resolution: int, *, filter: str) -> Image.Image:
    """Resize to `resolution` x `resolution`; all filters are antialiased."""
    if image.size == (resolution, resolution):
        return image
    if filter == "area":
        return _resize_by_area(image, resolution)
    return image.resize((resolution, resolution), _PILLOW_FILTERS[filter])


def nearest_resolution(size: int) -> int:
    """Return the power of two that the official program chooses for images of width `size`."""
    return 2 ** int(round(math.log2(size)))


def halve(image: np.ndarray) -> np.ndarray:
    """Average squares of 2x2 pixels. image: [C, H, W] float32 -> [C, H/2, W/2] float32."""
    return (
        image[:, 0::2, 0::2] + image[:, 0::2, 1::2] + image[:, 1::2, 0::2] + image[:, 1::2, 1::2]
    ) * np.float32(0.25)


def premultiply(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Multiply colours by their alpha, so that they count in an average as far as they are seen.

    values: float32 with channels along `axis`; only four of them (RGBA) are changed.
    """
    if values.ndim < 3 or values.shape[axis] != 4:
        return values
    colours, alpha = np.split(values, [3], axis)
    return np.concatenate([colours * (alpha / 255), alpha], axis)


def divide_by_alpha(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Undo `premultiply`; colours of alpha 0 are black."""
    if values.ndim < 3 or values.shape[axis] != 4:
        return values
    colours, alpha = np.split(values, [3], axis)
    shown = np.divide(255, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return np.concatenate([colours * shown, alpha], axis)


def _resize_by_area(image: Image.Image, resolution: int) -> Image.Image:
    """Average exactly the area that each new pixel covers (Pillow's box takes whole pixels)."""
    values = premultiply(np.asarray(image, np.float32), -1)  # [H, W] or [H, W, C]
    values = np.tensordot(_coverage(values.shape[0], resolution), values, axes=(1, 0))
    values = np.moveaxis(np.tensordot(_coverage(values.shape[1], resolution), values, (1, 1)), 0, 1)
    values = divide_by_alpha(values, -1)
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _coverage(before: int, after: int) -> np.ndarray:
    """Return [after, before]: the share of each old pixel in each new one; rows sum to 1."""
    edges = np.arange(after + 1) * (before / after)  # [after + 1]
    pixels = np.arange(before)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    overlap = overlap.clip(0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
