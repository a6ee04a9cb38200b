"""The work on one image: decode, shape, encode. Runs in worker processes, without TensorFlow."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from datasets.preparation import Preparation
from datasets.records import frame, image_message
from datasets.shaping import divide_by_alpha, halve, premultiply, shape_image
from datasets.sources.item import Reference
from dnnlib.image_files import ImageError, convert, decode


@dataclass(frozen=True)
class Task:
    """One image to be converted."""

    content: Reference
    label: np.ndarray | None  # [label_dim] float32


@dataclass(frozen=True)
class Outcome:
    """What became of an image: its records, one a level, or the reason why it has none."""

    records: list[bytes]  # framed as in the file
    digest: bytes  # sha256 of the source's bytes
    problem: str | None = None
    remarks: list[str] = field(default_factory=list)  # what is odd about an image that is used


def convert_all(tasks: Sequence[Task], preparation: Preparation) -> list[Outcome]:
    """Convert some images."""
    return [convert_one(task, preparation) for task in tasks]


def convert_one(task: Task, preparation: Preparation) -> Outcome:
    """Convert one image."""
    digest, remarks = b"", []
    try:
        content = task.content.load(preparation.most_bytes)
        digest = hashlib.sha256(content).digest()
        image = prepare_image(content, preparation, remarks)
        return Outcome(_records(image, task.label, preparation), digest, remarks=remarks)
    except ImageError as error:
        return Outcome([], digest, str(error))
    except MemoryError:
        return Outcome([], digest, "needs more memory than there is")


def prepare_image(
    content: bytes | np.ndarray, preparation: Preparation, remarks: list[str] | None = None
) -> np.ndarray:
    """Return the image as [C, H, W] uint8. remarks: what is odd about it is added."""
    image = decode(content, max_pixels=preparation.max_pixels, remarks=remarks)
    image = convert(image, channels=preparation.channels, alpha=preparation.alpha)
    image = shape_image(
        image,
        resolution=preparation.resolution,
        crop=preparation.crop,
        ratio=preparation.ratio,
        filter=preparation.filter,
        max_pixels=preparation.max_pixels,
    )
    pixels = np.asarray(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)  # [H, W, C]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # [C, H, W]


def _records(image: np.ndarray, label: np.ndarray | None, preparation: Preparation) -> list[bytes]:
    if preparation.encoding == "png":
        return [frame(image_message(_png(image), image.shape, label))]
    records = [frame(image_message(image.tobytes(), image.shape, label))]
    level = premultiply(image.astype(np.float32))
    for _ in preparation.levels[1:]:
        level = halve(level)
        pixels = np.rint(divide_by_alpha(level)).clip(0, 255).astype(np.uint8)
        records.append(frame(image_message(pixels.tobytes(), pixels.shape, label)))
    return records


def _png(image: np.ndarray) -> bytes:
    pixels = image.transpose(1, 2, 0)  # [H, W, C]
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if len(image) == 1 else pixels))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
