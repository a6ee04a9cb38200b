"""The project's one decoder: from the bytes of any image file to pixels of 8 bits.

A file is recognised by its first bytes, whatever its name says, and only by formats that Pillow
decodes itself (EPS, for example, would be handed to Ghostscript). What a file says beside its
pixels (EXIF, text, colour profiles) never costs an image.
"""

import io
import logging
import struct
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageColor

from dnnlib.errors import UserError

CHANNELS = {"rgb": "RGB", "gray": "L", "rgba": "RGBA"}
HEAD_BYTES = 4096  # enough to recognise a file
MAX_PIXELS = 178_956_970  # width times height; where Pillow refuses, too
_MODES_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_ORIENTATION = 0x0112  # tag of EXIF

_STARTS = {b"\x89PNG\r\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF"}
# What Pillow decodes in its own process. It also knows EPS (Ghostscript), WMF (Windows) and formats
# of which it reads only the header.
_FORMATS = (
    *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF"),
    *("ICNS", "ICO", "IM", "IMT", "IPTC", "JPEG", "JPEG2000", "MCIDAS", "MPO", "MSP", "PCD"),
    *("PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "TIFF", "WEBP"),
    *("XBM", "XPM", "XVTHUMB"),
)
_OTHER_FILES = {  # what is found beside images: (place of the mark, mark)
    "an HEIC image; convert it to PNG or JPEG": ((4, b"ftyphei"), (4, b"ftypmif1")),
    "a video": ((4, b"ftyp"), (8, b"AVI "), (0, b"\x1aE\xdf\xa3"), (0, b"\0\0\1\xba")),
    "a drawing, no pixels": ((0, b"%!PS"), (0, b"%PDF"), (0, b"<svg"), (0, b"\xc5\xd0\xd3\xc6")),
    "a web page or XML": ((0, b"<!"), (0, b"<html"), (0, b"<?xml")),
    "a git-LFS pointer, not the file itself; run: git lfs pull": ((0, b"version https://git-lfs"),),
    "a packed file; unpack it": ((0, b"\x1f\x8b"), (0, b"BZh"), (0, b"\xfd7zXZ"), (0, b"PK\3\4")),
}

# Pillow's lines on broken TIFF files would reach the terminal without the name of the file.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageError(Exception):
    """This image cannot be used; the message says why."""


def recognise(head: bytes) -> list[str]:
    """Return the formats that a file may have by its first HEAD_BYTES bytes; ImageError if none."""
    for start, name in _STARTS.items():
        if head.startswith(start):
            return [name]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ["WEBP"]
    if not head:
        raise ImageError("the file is empty")
    Image.init()
    known = {name: Image.OPEN[name][1] for name in _FORMATS if name in Image.OPEN}
    found = [name for name, accepts in known.items() if accepts and _is_accepted(accepts, head)]
    # A mark may be there by chance: that of CUR is in many headers of TGA, which has none.
    found += _try_headers(head, [name for name, accepts in known.items() if not accepts])
    if not found:
        kinds = (kind for kind, marks in _OTHER_FILES.items() if _has_mark(head, marks))
        kind = next(kinds, None)
        hint = f" ({kind})" if kind else ""
        raise ImageError(f"not an image in a format that Pillow decodes{hint}")
    return found


def _is_accepted(accepts: Callable, head: bytes) -> bool:
    try:
        return accepts(head[:16]) in (True, 1)  # a text says that this Pillow lacks the format
    except (IndexError, struct.error):  # of a file of few bytes
        return False


def _try_headers(head: bytes, formats: list[str]) -> list[str]:
    """Return the format among those without a mark of their own (TGA) whose header fits."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [Image.open(io.BytesIO(head), formats=formats).format]
    except Exception:  # whatever a decoder makes of bytes that are none of its own
        return []


def _has_mark(head: bytes, marks: tuple[tuple[int, bytes], ...]) -> bool:
    return any(head[place:].lower().startswith(mark.lower()) for place, mark in marks)


def decode(
    content: bytes | np.ndarray, *, max_pixels: int = MAX_PIXELS, remarks: list[str] | None = None
) -> Image.Image:
    """Decode an image file, or take an array uint8 [H, W] or [H, W, C].

    Of an animation the first frame; turned upright as its EXIF orientation says; with an alpha
    channel where anything in it is transparent. max_pixels: of larger ones nothing is decoded.
    remarks: what is odd about it is added. ImageError if it cannot be used.
    """
    if isinstance(content, np.ndarray):
        return _from_array(content)
    formats = recognise(content[:HEAD_BYTES])
    try:
        return _decode(content, formats, max_pixels, remarks)
    except ImageError as error:
        for plain, exif in _without_metadata(content, formats[0]):
            try:
                return _decode(plain, formats, max_pixels, remarks, exif=exif)
            except ImageError:
                break
        raise error


def convert(image: Image.Image, *, channels: str, alpha: str) -> Image.Image:
    """Return a decoded image in mode RGB, L or RGBA.

    channels: one of CHANNELS. alpha: "drop" (as the official program does: colours as stored) or
    "composite:COLOUR"; with channels "rgba" it is kept, and what cannot be seen is black.
    """
    if channels == "rgba":
        return _hide_colours(_convert(image, "RGBA"))
    if image.mode == "P" and ("transparency" in image.info or image.palette.mode == "RGBA"):
        image = _convert(image, "RGBA")
    if image.mode in _MODES_WITH_ALPHA:
        image = _convert(image, "RGBA")
        if alpha != "drop":
            background = Image.new("RGBA", image.size, composite_colour(alpha))
            image = Image.alpha_composite(background, image)
        image = image.convert("RGB")
    return _convert(image, CHANNELS[channels])


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


def most_bytes_for(max_pixels: int = MAX_PIXELS) -> int:
    """Return the size of the largest file that is read: no image needs more for its pixels."""
    return 16 * max_pixels + (64 << 20)


def require_image(head: bytes, size: int, most_bytes: int) -> None:
    """Raise ImageError if a file of `size` bytes that starts with `head` is not worth reading."""
    recognise(head)
    if size > most_bytes:
        raise ImageError(
            f"a file of {size / 1e6:,.0f} MB, larger than any image that is read (--max-pixels)"
        )


def require_pixels(width: int, height: int, max_pixels: int, *, what: str = "image") -> None:
    """Raise ImageError where an image would have more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise ImageError(
            f"too large: its {what} of {width}x{height} has more than {max_pixels:,} pixels "
            "(--max-pixels)"
        )


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ImageError(f"colour mode {image.mode} cannot be converted") from error


def _hide_colours(image: Image.Image) -> Image.Image:
    """Make the colours black where alpha is 0, as resizing does."""
    pixels = np.array(image)
    pixels[pixels[:, :, 3] == 0] = 0
    return Image.fromarray(pixels)


def _decode(
    content: bytes,
    formats: list[str],
    max_pixels: int,
    remarks: list[str] | None,
    exif: bytes | None = None,
) -> Image.Image:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, -(-max_pixels // 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd but readable files
            image = Image.open(io.BytesIO(content), formats=formats)
            require_pixels(*image.size, max_pixels)
            raw_mode = str(image.tile[0][3]) if image.tile else image.mode
            image.load()
            if image.mode == "P" and image.palette is None:
                raise ImageError("damaged (its palette is missing)")
            orientation = _orientation(image, exif)
            image = _to_eight_bits(image, raw_mode, [] if remarks is None else remarks)
            return image if orientation is None else image.transpose(orientation)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError("not an image in a format that Pillow decodes, or damaged") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: more than {max_pixels:,} pixels (--max-pixels)") from error
    except MemoryError as error:
        raise ImageError("needs more memory than there is") from error
    except (OSError, SyntaxError, ValueError, EOFError, KeyError) as error:
        raise ImageError(f"damaged ({error})") from error
    except Exception as error:  # decoders of rare formats raise whatever they like
        raise ImageError(f"damaged ({type(error).__name__}: {error})") from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image, exif: bytes | None) -> Image.Transpose | None:
    """Return how an image is turned upright. Broken EXIF says nothing: it stays as stored."""
    try:
        tags = image.getexif()
        if exif is not None:
            tags.load(exif)
        return _UPRIGHT.get(tags.get(_ORIENTATION))
    except Exception:  # Pillow's parsers raise whatever they like
        return None


def _to_eight_bits(image: Image.Image, raw_mode: str, remarks: list[str]) -> Image.Image:
    """Scale grey of 16 bits, 32 bits and floats, which Pillow would clip at 255; with alpha where
    a colour is declared transparent."""
    mask = _transparent_pixels(image, raw_mode)
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        remark_on_range(int(values.max()), remarks)
        image = Image.fromarray((values.astype(np.uint32) * 255 // 65535).astype("u1"))
    elif image.mode == "I":
        values = np.asarray(image)
        scale = 65535 if values.max() > 255 or ";16" in raw_mode else 255
        image = Image.fromarray((values.clip(0, scale) * 255 // scale).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max() <= 1 else 1
        image = Image.fromarray((values * scale).clip(0, 255).round().astype(np.uint8))
    elif ";16" in raw_mode and image.mode == "RGB":  # Pillow keeps the upper 8 of 16 bits
        remark_on_range(max(high for _, high in image.getextrema()) * 256 + 255, remarks)
    if mask is None:
        return image
    image = image.convert("RGB" if image.mode == "RGB" else "L")
    image.putalpha(Image.fromarray(np.where(mask, 0, 255).astype(np.uint8)))
    return image


def remark_on_range(largest: int, remarks: list[str]) -> None:
    """Add a remark where 16-bit values are so small that they seem to be of 8 or 12 bits."""
    for bits in (8, 12):
        if 0 < largest < 2**bits:
            remarks.append(
                f"16 bits a value, but none above {2**bits - 1}: nearly black (values of {bits} "
                "bits? then scale them first)"
            )
            return


def _transparent_pixels(image: Image.Image, raw_mode: str) -> np.ndarray | None:
    """Return where [H, W] an image has the one colour that its file declares transparent.

    (Of palettes Pillow knows it.) The colour is given in the file's own bits: of 1, 2, 4 or 16,
    where Pillow has made 8 of them.
    """
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        shift = 8 if ";16" in raw_mode else 0
        colour = np.array([value >> shift for value in key])
        return (np.asarray(image) == colour).all(axis=-1)
    if isinstance(key, int) and (image.mode in ("1", "L", "I") or image.mode.startswith("I;16")):
        values = np.asarray(image)
        if image.mode == "1":
            return values == bool(key)
        bits = {"L;2": 2, "L;4": 4}.get(raw_mode, 8)
        return values == (key * 255 // (2**bits - 1) if bits < 8 else key)
    return None


def _without_metadata(content: bytes, format: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield (the file without what it says beside its pixels, its EXIF) if that can be done."""
    strip = {"PNG": _strip_png, "JPEG": _strip_jpeg, "WEBP": _strip_webp}.get(format)
    if strip is not None:
        try:
            yield strip(content)
        except (struct.error, IndexError):
            return  # cut off within the file's structure


def _strip_png(content: bytes) -> tuple[bytes, bytes | None]:
    kept, exif, place = [content[:8]], None, 8
    while place + 8 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        name = content[place + 4 : place + 8]
        chunk = content[place : place + 12 + size]
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(chunk)
        elif name == b"eXIf":
            exif = chunk[8:-4]
        place += 12 + size
    return b"".join(kept), exif


def _strip_jpeg(content: bytes) -> tuple[bytes, bytes | None]:
    kept, exif, place = [content[:2]], None, 2
    while content[place] == 0xFF and content[place + 1] != 0xDA:  # until the pixels begin
        if content[place + 1] == 0xFF:  # padding
            place += 1
            continue
        (size,) = struct.unpack_from(">H", content, place + 2)
        segment, marker = content[place : place + 2 + size], content[place + 1]
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)  # JFIF's and Adobe's say what the colours are
        elif segment[4:8] == b"Exif" and exif is None:
            exif = segment[4:]
        place += 2 + size
    return b"".join([*kept, content[place:]]), exif


def _strip_webp(content: bytes) -> tuple[bytes, bytes | None]:
    kept, exif, place = [], None, 12
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        chunk = content[place : place + 8 + size + size % 2]
        if name == b"VP8X":
            flags = bytes([chunk[8] & ~0x2C])  # no profile, EXIF or XMP follow
            kept.append(chunk[:8] + flags + chunk[9:])
        elif name in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            kept.append(chunk)
        elif name == b"EXIF":
            exif = chunk[8 : 8 + size]
        place += len(chunk) or 8
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body, exif


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    channels_fit = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))
    if array.dtype != np.uint8 or not channels_fit or 0 in array.shape:
        raise ImageError(f"an array of {array.dtype} {list(array.shape)} is no image")
    return Image.fromarray(np.ascontiguousarray(array))
