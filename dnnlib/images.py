"""From network outputs to image files and sheets."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image

from dnnlib.files import atomic_file


def to_uint8(images: np.ndarray) -> np.ndarray:
    """From [-1, 1] to 0..255, clipped; halves are rounded to even, as in the official code."""
    return np.clip(np.rint(np.asarray(images, np.float32) * 127.5 + 127.5), 0, 255).astype(np.uint8)


def crop_rows(images: np.ndarray, ratio: float) -> np.ndarray:
    """Return the central rows [B, W ratio, W, C] of images, the useful part of a padded square.

    Images that have no more rows than that already come back as they are.
    """
    height, width = images.shape[1:3]
    rows = min(int(round(width * ratio)), height)
    first = (height - rows) // 2
    return images[:, first : first + rows]


def make_sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay out images uint8 [N, H, W, C] in rows of `columns`; missing ones at the end are white."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height, width, channels), 255, np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return sheet.reshape(rows * height, columns * width, channels)


def save_image(image: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W, 1 or 3 or 4] as a PNG file, atomically."""
    image = image[..., 0] if image.shape[-1] == 1 else image
    with atomic_file(path) as file:
        Image.fromarray(image).save(file, "png")


def segment_colours(count: int) -> np.ndarray:
    """Return `count` colours [count, 3] in 0..1, evenly spaced in hue."""
    hues = (np.arange(count) / count + 0.01) % 1.0
    return np.array([colorsys.hls_to_rgb(hue, 0.6, 0.65) for hue in hues], np.float32)


def colour_attention(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Colour each position by the component that it attends to most, uint8 [B, H, W, 3].

    maps: [B, h, w, k], each component's share. Enlarged to `size` (H, W) by repetition.
    """
    colours = np.rint(segment_colours(maps.shape[-1]) * 255).astype(np.uint8)
    rows, columns = size[0] // maps.shape[1], size[1] // maps.shape[2]
    return np.repeat(np.repeat(colours[maps.argmax(axis=-1)], rows, 1), columns, 2)


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Repeat a single channel three times; show transparency on white.

    images: 0..255, uint8 or float32, [B, H, W, 1, 3 or 4] -> [B, H, W, 3].
    """
    if images.shape[-1] == 4:
        pixels = np.asarray(images)
        alpha = pixels[..., 3:].astype(np.float32) / 255
        shown = pixels[..., :3] * alpha + 255 * (1 - alpha)
        return np.rint(shown).astype(np.uint8) if pixels.dtype == np.uint8 else shown
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
