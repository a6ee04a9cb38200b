"""A data set back to a folder of images."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.opening import open_records
from datasets.tools.iteration import iterate_images
from dnnlib.errors import UserError
from dnnlib.files import atomic_directory
from dnnlib.progress import track

FILES_A_FOLDER = 1000


def extract(
    directory: Path, out: Path, *, resolution: int | None = None, max_images: int | None = None
) -> str:
    """Write all images as PNG files, and their labels as dataset.json in StyleGAN2-ADA's form."""
    if max_images is not None and max_images < 1:
        raise UserError(f"at most {max_images} images: give a positive number")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is already there; choose another --out")
    records = open_records(directory, resolution)
    count = min(sum(len(file) for file in records.files), max_images or 2**62)
    labels = []
    with atomic_directory(out) as folder:
        stream = track(range(count), label=f"extracting {records.name}", total=count)
        for number, (image, label) in zip(stream, iterate_images(records), strict=False):
            name = f"{number // FILES_A_FOLDER:05d}/{number:08d}.png"
            (folder / name).parent.mkdir(exist_ok=True)
            pixels = image[:, :, 0] if records.channels == 1 else image
            Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name)
            labels.append([name, label.tolist()])
        if records.label_names:
            text = json.dumps({"labels": labels, "label_names": records.label_names})
            (folder / "dataset.json").write_text(text, encoding="utf-8")
    return f"{count:,} images in {out}"
