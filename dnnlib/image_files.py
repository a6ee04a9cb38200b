"""From the bytes of any image file to RGB or grey pixels."""

import io
import warnings

import numpy as np
from PIL import Image, ImageColor, ImageOps

from dnnlib.errors import UserError

CHANNELS = {"rgb": "RGB", "gray": "L"}
_STARTS = {b"\x89PNG\r\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF"}
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


class ImageError(Exception):
    """This image cannot be used; the message says why."""


def decode(content: bytes | np.ndarray) -> Image.Image:
    """Decode an image file (whatever its name says) or take an array [H, W] or [H, W, C].

    Of an animation the first frame; turned upright as its EXIF orientation says.
    """
    if isinstance(content, np.ndarray):
        return _from_array(content)
    if not content:
        raise ImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd but readable files
            image = Image.open(io.BytesIO(content), formats=_likely_formats(content))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except Image.UnidentifiedImageError as error:
        raise ImageError("not an image in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, KeyError) as error:
        raise ImageError(f"damaged ({error})") from error
    except Exception as error:  # decoders of rare formats raise whatever they like
        raise ImageError(f"damaged ({type(error).__name__}: {error})") from error


def _likely_formats(content: bytes) -> list[str] | None:
    """Return the format that the first bytes tell; None: Pillow tries all, one by one."""
    for start, name in _STARTS.items():
        if content.startswith(start):
            return [name]
    return ["WEBP"] if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def convert(image: Image.Image, *, channels: str, alpha: str) -> Image.Image:
    """Return `image` in mode RGB or L.

    alpha: "drop" (as the official program does: colours as stored) or "composite:COLOUR".
    """
    image = _to_eight_bits(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in _ALPHA_MODES:
        image = image.convert("RGBA")
        if alpha != "drop":
            background = Image.new("RGBA", image.size, composite_colour(alpha))
            image = Image.alpha_composite(background, image)
        image = image.convert("RGB")
    if image.mode == CHANNELS[channels]:
        return image
    try:
        return image.convert(CHANNELS[channels])
    except ValueError as error:
        raise ImageError(f"colour mode {image.mode} cannot be converted") from error


def composite_colour(alpha: str) -> tuple[int, int, int]:
    """Return the colour of "composite:COLOUR" (a name, #rrggbb or rgb(...))."""
    mode, _, colour = alpha.partition(":")
    try:
        if mode != "composite":
            raise ValueError
        return ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise UserError(
            f'alpha "{alpha}" is not known; use drop or composite:COLOUR, for example '
            "composite:white or composite:#808080"
        ) from error


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grey images, which Pillow would clip at 255."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) * 255 // 65535).astype("u1"))
    if image.mode == "I":
        values = np.asarray(image)
        scale = 65535 if values.max() > 255 else 255
        return Image.fromarray((values.clip(0, scale) * 255 // scale).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max() <= 1 else 1
        return Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    return image


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    channels_fit = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))
    if array.dtype != np.uint8 or not channels_fit or 0 in array.shape:
        raise ImageError(f"an array of {array.dtype} {list(array.shape)} is no image")
    return Image.fromarray(np.ascontiguousarray(array))
