"""Writing videos frame by frame: mp4 with the package imageio-ffmpeg, gif and webp with Pillow.

Memory does not grow with the number of frames. Pillow keeps all frames of an animation until it
writes them, so here it compresses single ones, and they are put together as the formats say:
GIF89a (CompuServe 1990), and the WebP container (RFC 9649).
"""

import importlib.util
import io
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.files import atomic_file, sync_directory

FORMATS = ("mp4", "gif", "webp")
LARGEST_SIDE = 2**14 - 1  # of webp
QUALITY = 90  # of webp, 0..100


def default_format() -> str:
    """Return mp4 where it can be written, else gif."""
    return "mp4" if importlib.util.find_spec("imageio_ffmpeg") else "gif"


def require_format(name: str) -> None:
    """Raise UserError, before the long work, if videos of this format cannot be written here."""
    if name == "mp4" and not importlib.util.find_spec("imageio_ffmpeg"):
        raise UserError(
            "mp4 needs a package: pip install imageio-ffmpeg, or choose --video gif or webp"
        )


def write_video(path: Path, frames: Iterable[np.ndarray], *, fps: float) -> None:
    """Write frames uint8 [H, W, 3] as a video, which repeats for ever as gif or webp.

    The format follows the suffix of `path`. The file is there when it is whole. Raises UserError
    if there is no frame, or the format cannot be written here.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".")
    require_format(kind)
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{path}: no frames to write")
    frames = _with(first, frames)
    if kind == "mp4":
        _write_mp4(path, frames, first.shape[1::-1], fps)
        return
    with atomic_file(path) as file:
        {"gif": _write_gif, "webp": _write_webp}[kind](file, frames, first.shape[1::-1], fps)


def write_gif(file: BinaryIO, frames: Sequence[np.ndarray], *, fps: float) -> None:
    """Write frames uint8 [H, W, 3], at least one, into an open file, as write_video does."""
    _write_gif(file, _with(frames[0], iter(frames[1:])), frames[0].shape[1::-1], fps)


def _with(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    for frame in rest:
        if frame.shape != first.shape:
            raise ValueError(f"a frame has shape {frame.shape}, the first {first.shape}")
        yield frame


def _write_mp4(path: Path, frames: Iterator[np.ndarray], size: tuple[int, int], fps: float):
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    odd = [side % 2 for side in size]  # the codec needs even sides: the last row is repeated
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(temporary),
        (size[0] + odd[0], size[1] + odd[1]),
        fps=fps,
        quality=8,
        macro_block_size=1,
        ffmpeg_log_level="error",
    )
    try:
        writer.send(None)
        for frame in frames:
            padded = np.pad(frame, [(0, odd[1]), (0, odd[0]), (0, 0)], "edge")
            writer.send(np.ascontiguousarray(padded))
        writer.close()
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)


def _write_gif(file, frames: Iterator[np.ndarray], size: tuple[int, int], fps: float) -> None:
    """Each frame is a still image of its own, with its own 256 colours."""
    file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0))  # without common colours
    file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # again and again
    delay = max(round(100 / fps), 2)  # browsers take less than 2/100 s for slow
    for frame in frames:
        colours, image = _split_gif(frame)
        descriptor, data = image[:9], image[10:]
        table = len(colours) // 3
        flags = 0x80 | (table.bit_length() - 2)  # the colours follow
        file.write(b"!\xf9\x04\x04" + struct.pack("<HBB", delay, 0, 0))
        file.write(descriptor + bytes([flags]) + colours + data)
    file.write(b";")


def _split_gif(frame: np.ndarray) -> tuple[bytes, bytes]:
    """Return the colours of a frame and its image: descriptor (10 bytes), then compressed data."""
    buffer = io.BytesIO()
    Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE).save(
        buffer, "gif", optimize=False, interlace=0
    )
    whole = buffer.getvalue()
    start = 13 + 3 * 2 ** ((whole[10] & 7) + 1)  # after header, screen and colours
    colours, place = whole[13:start], start
    while whole[place] == ord("!"):  # extensions: a label, then blocks that say their length
        place += 2
        while whole[place]:
            place += 1 + whole[place]
        place += 1
    return colours, whole[place:-1]


def _write_webp(file, frames: Iterator[np.ndarray], size: tuple[int, int], fps: float) -> None:
    if max(size) > LARGEST_SIDE:
        raise UserError(f"webp frames have at most {LARGEST_SIDE} pixels a side; choose another")
    sides = _int24(size[0] - 1) + _int24(size[1] - 1)
    file.write(b"RIFF\0\0\0\0WEBP")
    file.write(_chunk(b"VP8X", b"\x02\0\0\0" + sides))  # animated
    file.write(_chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, 0)))  # again and again
    duration = _int24(max(round(1000 / fps), 1))
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "webp", quality=QUALITY, method=4)
        header = _int24(0) + _int24(0) + sides + duration + b"\x02"  # replaces what was there
        file.write(_chunk(b"ANMF", header + buffer.getvalue()[12:]))
    length = file.tell()
    file.seek(4)
    file.write(struct.pack("<I", length - 8))
    file.seek(length)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _int24(value: int) -> bytes:
    return value.to_bytes(3, "little")
