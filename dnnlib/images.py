"""From network outputs to image files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dnnlib.files import atomic_file

ENCODINGS = {
    "png": {"format": "png"},
    "jpg": {"format": "jpeg", "quality": 95, "subsampling": 0},
    "webp": {"format": "webp", "lossless": True, "method": 2},
}


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


def save_image(image: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W, 1 or 3 or 4], atomically: png, jpg or webp by the suffix, else png."""
    kind = path.suffix.removeprefix(".")
    with atomic_file(path) as file:
        file.write(encode_image(image, kind if kind in ENCODINGS else "png"))


def encode_image(image: np.ndarray, kind: str = "png") -> bytes:
    """Return uint8 [H, W, 1 or 3 or 4] as the content of an image file: png, jpg or webp.

    png and webp are without loss. jpg shows transparency on white.
    """
    if kind == "jpg" and image.shape[-1] == 4:
        image = to_rgb(image[None])[0]
    buffer = io.BytesIO()
    to_pil(image).save(buffer, **ENCODINGS[kind])
    return buffer.getvalue()


def to_pil(image: np.ndarray) -> Image.Image:
    """Return uint8 [H, W, 1 or 3 or 4] as an image of Pillow."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


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
