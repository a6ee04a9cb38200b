"""Videos are read back by Pillow, or by ffmpeg."""

import importlib.util
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dnnlib.errors import UserError
from dnnlib.videos import require_format, write_video

HAS_FFMPEG = importlib.util.find_spec("imageio_ffmpeg") is not None


def make_frames(count=7, height=24, width=37):
    """Smooth colours that move: few enough for 256 of them."""
    x, y = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    for i in range(count):
        image = np.stack([x + 0 * y, y + 0 * x, 0 * x + 0 * y + i / count], axis=-1)
        yield np.rint(image * 255).astype(np.uint8)


@pytest.mark.parametrize("kind, error", [("gif", 12), ("webp", 6)])
def test_frames_come_back(tmp_path, kind, error):
    write_video(tmp_path / f"video.{kind}", make_frames(), fps=20)
    with Image.open(tmp_path / f"video.{kind}") as video:
        assert (video.n_frames, video.size, video.info["loop"]) == (7, (37, 24), 0)
        frames = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(video)]
        assert video.info["duration"] == 50
    for frame, expected in zip(frames, make_frames(), strict=True):
        difference = np.abs(frame.astype(int) - expected)
        assert difference.mean() < error and difference.max() < 8 * error
    assert [path.name for path in tmp_path.iterdir()] == [f"video.{kind}"]


@pytest.mark.skipif(not HAS_FFMPEG, reason="imageio-ffmpeg is not installed")
@pytest.mark.parametrize("size", [(24, 36), (25, 37)])
def test_mp4(tmp_path, size):
    import imageio_ffmpeg

    write_video(tmp_path / "video.mp4", make_frames(9, *size), fps=30)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "video.mp4"))
    facts = next(reader)
    width, height = facts["size"]
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    assert (facts["fps"], len(frames)) == (30, 9)
    assert (height, width) == tuple(side + side % 2 for side in size)
    for frame, expected in zip(frames, make_frames(9, *size), strict=True):
        assert np.abs(frame[: size[0], : size[1]].astype(int) - expected).mean() < 8


@pytest.mark.skipif(HAS_FFMPEG, reason="imageio-ffmpeg is installed")
def test_mp4_without_the_package():
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        require_format("mp4")


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_memory_does_not_grow(tmp_path, kind):
    def peak(count):
        tracemalloc.start()
        write_video(tmp_path / f"video.{kind}", make_frames(count, 64, 64), fps=30)
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    assert peak(300)[0] < 1.2 * peak(30)[0] + 20_000


def test_nothing_is_left_of_a_video_that_failed(tmp_path):
    def broken():
        yield np.zeros([4, 4, 3], np.uint8)
        raise RuntimeError("the generator failed")

    for kind in ("gif", "webp", *(["mp4"] if HAS_FFMPEG else [])):
        with pytest.raises(RuntimeError):
            write_video(tmp_path / f"video.{kind}", broken(), fps=30)
        with pytest.raises(UserError, match="no frames"):
            write_video(tmp_path / f"video.{kind}", [], fps=30)
    assert list(tmp_path.iterdir()) == []
