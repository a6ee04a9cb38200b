"""Pictures of every kind Pillow writes, and some that it cannot read."""

import io

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.image_files import ImageError, convert, decode


def saved(picture: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A smooth colour picture: every conversion should stay near it."""
    rows, columns = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([rows * 6, columns * 4, 120 + rows], -1).astype(np.uint8))


KINDS = [
    ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
    ("TIFF", "CMYK"), ("TIFF", "LAB"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("BMP", "RGB"),
    ("GIF", "P"), ("TIFF", "RGB"), ("TIFF", "YCbCr"), ("PPM", "RGB"), ("ICO", "RGBA"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "mode"), [kind for kind in KINDS if kind[1] != "LAB"])
def test_colour_pictures(photo, format, mode):
    picture = photo.quantize(256) if mode == "P" else photo.convert(mode)
    options = {"quality": 95} if format in ("JPEG", "WEBP") else {}
    if format == "ICO":
        options, picture = {"sizes": [(60, 60)]}, picture.resize((60, 60))
    found = convert(decode(saved(picture, format, **options)), channels="rgb", alpha="drop")
    assert found.mode == "RGB" and found.size == picture.size
    expected = np.asarray(photo.resize(picture.size), float)
    assert np.abs(np.asarray(found) - expected).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F"])
def test_grey_pictures(photo, mode):
    grey = np.asarray(photo.convert("L"))
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "I":
        picture = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode == "F":
        picture = Image.fromarray(grey.astype(np.float32) / 255)
    else:
        picture = photo.convert("L").convert(mode)
    content = saved(picture, "TIFF" if mode in ("F", "I") else "PNG")
    for channels in ("rgb", "gray"):
        found = np.asarray(convert(decode(content), channels=channels, alpha="drop"))
        assert found.ndim == (3 if channels == "rgb" else 2)
        if mode == "1":
            assert set(found.ravel()) == {0, 255}
        else:
            expected = grey if channels == "gray" else grey[:, :, None]
            assert np.abs(found.astype(int) - expected).max() <= 1


def test_exif_orientation_is_applied(photo):
    for orientation, transpose in {
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_270,
    }.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = decode(saved(photo, "PNG", exif=exif.tobytes()))
        assert found.tobytes() == photo.transpose(transpose).tobytes()


def test_first_frame_of_an_animation(photo):
    frames = [photo, Image.new("RGB", photo.size, "red")]
    for format in ("GIF", "WEBP", "PNG"):
        content = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
        found = convert(decode(content), channels="rgb", alpha="drop")
        assert np.abs(np.asarray(found) - np.asarray(photo).astype(float)).mean() < 6


def test_alpha_is_dropped_or_composited():
    picture = Image.new("RGBA", (2, 1), (200, 100, 0, 0))
    picture.putpixel((1, 0), (200, 100, 0, 255))
    content = saved(picture, "PNG")
    dropped = convert(decode(content), channels="rgb", alpha="drop")
    assert list(dropped.getdata()) == [(200, 100, 0)] * 2
    white = convert(decode(content), channels="rgb", alpha="composite:white")
    assert list(white.getdata()) == [(255, 255, 255), (200, 100, 0)]
    mixed = convert(decode(content), channels="rgb", alpha="composite:#102030")
    assert mixed.getpixel((0, 0)) == (16, 32, 48)


def test_transparent_palette_colour_and_grey_alpha():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    content = saved(palette, "GIF", transparency=0)
    found = convert(decode(content), channels="rgb", alpha="composite:blue")
    assert list(found.getdata()) == [(0, 0, 255), (0, 255, 0)]
    grey = Image.new("LA", (1, 1), (90, 0))
    found = convert(decode(saved(grey, "PNG")), channels="gray", alpha="composite:white")
    assert found.getpixel((0, 0)) == 255


@pytest.mark.parametrize("alpha", ["keep", "composite", "composite:", "composite:whit", "white"])
def test_unknown_alpha_says_what_to_write(alpha):
    picture = Image.new("RGBA", (1, 1))
    with pytest.raises(UserError, match="composite:white"):
        convert(picture, channels="rgb", alpha=alpha)


def test_bytes_that_are_no_picture(photo):
    whole = saved(photo, "PNG")
    noise = np.random.RandomState(0).randint(0, 256, (100, 100, 3), np.uint8)
    noise = saved(Image.fromarray(noise), "JPEG")
    bad = {
        "empty": b"", "text": b"<html>404</html>", "half PNG": whole[: len(whole) // 2],
        "half JPEG": noise[: len(noise) // 2], "header only": whole[:30],
        "wrong sums": whole[:60] + b"\0\1\2\3" + whole[64:],
    }  # fmt: skip
    for content in bad.values():
        with pytest.raises(ImageError, match="damaged|not an image|empty"):
            decode(content)


def test_damaged_files_raise_nothing_else(photo):
    """Whatever a decoder makes of flipped bytes: a picture, or one kind of error."""
    random = np.random.RandomState(3)
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "PPM"):
        whole = saved(photo, format)
        for _ in range(40):
            content = bytearray(whole)
            for place in random.randint(0, min(len(content), 200), 4):
                content[place] = random.randint(256)
            try:
                convert(decode(bytes(content)), channels="rgb", alpha="composite:white")
            except ImageError:
                continue


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 5), np.uint8), np.zeros(3, np.uint8)]
)
def test_arrays_that_are_no_picture(array):
    with pytest.raises(ImageError, match="is no image"):
        decode(array)
