"""Pictures of every kind Pillow writes, and some that it cannot read."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from dnnlib.errors import UserError
from dnnlib.image_files import ImageError, convert, decode, recognise


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


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    place, chunks = 8, []
    while place < len(content):
        (size,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    return chunks


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, body in chunks:
        checksum = zlib.crc32(name + body)
        parts += [struct.pack(">I", len(body)), name, body, struct.pack(">I", checksum)]
    return b"".join(parts)


HUGE = zlib.compress(b"x" * 3_000_000, 9)
TEXTS = {
    "zTXt": b"key\0\0" + HUGE,
    "iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + HUGE,
    "tEXt": b"key\0" + b"x" * 2_000_000,
    "iCCP": b"profile\0\0" + HUGE,
    "eXIf": b"garbage that is no TIFF",
    "tIME": b"?",
    "pHYs": b"",
    "cHRM": b"12",
    "gAMA": b"",
    "sRGB": b"",
    "xxXx": b"of nobody" * 1000,
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", TEXTS)
def test_metadata_never_cost_a_png(photo, name, place):
    chunks = png_chunks(saved(photo, "PNG"))
    chunks.insert(1 if place == "before" else len(chunks) - 1, (name.encode(), TEXTS[name]))
    assert decode(png_of(chunks)).tobytes() == photo.tobytes()


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def test_orientation_is_kept_where_other_metadata_is_broken(photo):
    chunks = png_chunks(saved(photo, "PNG"))
    exif = exif_bytes(6).removeprefix(b"Exif\0\0")
    chunks[1:1] = [(b"eXIf", exif), (b"zTXt", TEXTS["zTXt"])]
    turned = photo.transpose(Image.Transpose.ROTATE_270)
    assert decode(png_of(chunks)).tobytes() == turned.tobytes()


BROKEN_EXIF = {
    "no TIFF": b"Exif\0\0garbage",
    "empty": b"",
    "cut": exif_bytes(6)[:-8],
    "far offset": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "endless": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\x7f\0\0\0\0" * 9,
}


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG", "TIFF"])
@pytest.mark.parametrize("broken", BROKEN_EXIF)
def test_broken_exif_leaves_the_image_as_stored(photo, format, broken):
    options = {} if format == "TIFF" else {"exif": BROKEN_EXIF[broken]}
    lossless = {"lossless": True} if format == "WEBP" else {}
    found = decode(saved(photo, format, **options, **lossless))
    expected = Image.open(io.BytesIO(saved(photo, format, **lossless)))
    assert found.size == photo.size and found.tobytes() == expected.tobytes()


def test_a_webp_whose_metadata_is_cut_off(photo):
    whole = saved(photo, "WEBP", lossless=True, exif=exif_bytes(1) + bytes(500))
    assert decode(whole[:-300]).tobytes() == photo.tobytes()


def test_jpeg_segments_of_all_kinds(photo):
    content = saved(photo, "JPEG", quality=95)
    expected = decode(content).tobytes()
    for marker in (*range(0xE1, 0xF0), 0xFE):
        if marker == 0xEE:  # Adobe's, which says what the colours are
            continue
        for body in (b"", b"MPF\0broken", b"ICC_PROFILE\0\7\1x", b"Photoshop 3.0\x008BIM", b"\0"):
            segment = struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
            assert decode(content[:2] + segment + content[2:]).tobytes() == expected


@pytest.mark.parametrize("alpha", ["drop", "composite:white"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth(alpha, bits):
    """A 2x1 PNG, made by hand, whose first pixel has the colour that tRNS declares transparent."""
    values = [0, 2**bits - 1] if bits < 16 else [0x1234, 0xFFFF]
    row = {1: b"\x40", 2: b"\x30", 4: b"\x0f", 8: b"\0\xff", 16: b"\x12\x34\xff\xff"}[bits]
    content = png_of(
        [
            (b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)),
            (b"tRNS", struct.pack(">H", values[0])),
            (b"IDAT", zlib.compress(b"\0" + row)),
            (b"IEND", b""),
        ]
    )
    found = convert(decode(content), channels="gray", alpha=alpha)
    stored = values[0] * 255 // (2**bits - 1)
    assert list(found.tobytes()) == [255 if alpha != "drop" else stored, 255]
    seen = convert(decode(content), channels="rgba", alpha="drop")
    assert [seen.getpixel((x, 0))[3] for x in (0, 1)] == [0, 255]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour(bits):
    key = (200, 100, 50) if bits == 8 else (0xC8C8, 0x6464, 0x3232)
    other = (200, 100, 51) if bits == 8 else (0xC8C8, 0x6464, 0x3333)
    code = ">6B" if bits == 8 else ">6H"
    content = png_of(
        [
            (b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, 2, 0, 0, 0)),
            (b"tRNS", struct.pack(">3H", *key)),
            (b"IDAT", zlib.compress(b"\0" + struct.pack(code, *key, *other))),
            (b"IEND", b""),
        ]
    )
    found = convert(decode(content), channels="rgb", alpha="composite:blue")
    assert list(found.tobytes()) == [0, 0, 255, 200, 100, 51]
    dropped = convert(decode(content), channels="rgb", alpha="drop")
    assert list(dropped.tobytes()) == [200, 100, 50, 200, 100, 51]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "GIF", "ICO", "TGA", "DDS", "JPEG2000"])
def test_transparency_of_every_format_is_composited(format):
    picture = Image.new("RGBA", (16, 16), (200, 100, 0, 0))
    picture.paste((10, 20, 30, 255), (0, 0, 16, 8))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    if format == "ICO":
        options = {"sizes": [(16, 16)]}
    content = saved(picture, format, **options)
    found = convert(decode(content), channels="rgb", alpha="composite:white")
    assert found.getpixel((3, 12)) == (255, 255, 255) and found.getpixel((3, 3)) == (10, 20, 30)


def test_rgba_keeps_alpha_and_hides_what_cannot_be_seen():
    picture = Image.new("RGBA", (3, 1), (200, 100, 0, 0))
    picture.putpixel((1, 0), (200, 100, 0, 128))
    picture.putpixel((2, 0), (200, 100, 0, 255))
    found = convert(decode(saved(picture, "PNG")), channels="rgba", alpha="drop")
    pixels = [found.getpixel((x, 0)) for x in range(3)]
    assert pixels == [(0, 0, 0, 0), (200, 100, 0, 128), (200, 100, 0, 255)]
    grey = convert(decode(saved(Image.new("L", (1, 1), 7), "PNG")), channels="rgba", alpha="drop")
    assert grey.getpixel((0, 0)) == (7, 7, 7, 255)


@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (200, 8), (256, 12), (4095, 12), (4096, None), (65535, None)]
)
def test_16_bit_files_of_fewer_bits_are_told(largest, bits):
    values = np.array([[0, largest]], np.uint16)
    remarks = []
    decode(saved(Image.fromarray(values), "PNG"), remarks=remarks)
    assert [f"values of {bits} bits" in remark for remark in remarks] == ([True] if bits else [])


def test_only_formats_that_pillow_decodes_itself(monkeypatch):
    """EPS would be handed to Ghostscript, under whatever name."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", None)  # would be an error of another kind
    for content in (eps, b"\xc5\xd0\xd3\xc6" + bytes(28) + eps, b"%PDF-1.7\n"):
        with pytest.raises(ImageError, match="that Pillow decodes .a drawing"):
            decode(content)
    for content, word in {
        b"\0\0\0\x18ftypmp42": "a video",
        b"\x1aE\xdf\xa3": "a video",
        b"\0\0\0\x18ftypheic": "HEIC",
        b"<html>": "web page",
        b"version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
        b"PK\3\4": "unpack it",
    }.items():
        with pytest.raises(ImageError, match=word):
            decode(content + bytes(200))


@pytest.mark.parametrize(
    "format",
    ["BMP", "DIB", "PCX", "PPM", "SGI", "TGA", "TIFF", "IM", "MSP", "XBM", "SPIDER", "QOI", "AVIF"],
)
def test_rare_formats_are_recognised(photo, format):
    if format not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {format}")
    modes = {"MSP": "1", "XBM": "1", "SPIDER": "F"}
    picture = photo.convert(modes.get(format, "RGB"))
    content = saved(picture, format)
    assert format in recognise(content[:4096])
    assert decode(content).size == photo.size


def test_size_is_bounded_before_anything_is_decoded(photo):
    content = saved(photo, "PNG")  # 60 x 40
    assert decode(content, max_pixels=2400).size == (60, 40)
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF"):
        with pytest.raises(ImageError, match="too large.*2,399 pixels"):
            decode(saved(photo, format), max_pixels=2399)
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    with pytest.raises(ImageError, match="too large"):
        decode(png_of([(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]))


def test_a_palette_that_is_missing():
    pixels = zlib.compress(b"\0\0\1")
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    with pytest.raises(ImageError, match="its palette is missing"):
        decode(content)
