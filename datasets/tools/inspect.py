"""What a data set holds: facts, statistics of colours and labels, a grid of images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.opening import RecordSet, open_records
from datasets.tools.iteration import iterate_images
from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from dnnlib.progress import track


@dataclass(frozen=True)
class Statistics:
    """Over all images and pixels, for each channel; and how often each label value occurs."""

    mean: np.ndarray  # [C]
    std: np.ndarray  # [C]
    label_sums: np.ndarray  # [label_dim]


def inspect(directory: Path, *, resolution: int | None = None, grid: Path | None = None) -> str:
    """Return a description of a data set; write a grid of its images to `grid`, if given."""
    if grid is not None:
        _check_grid(grid)
    records = open_records(directory, resolution)
    statistics, shown = _measure(records)
    if grid is not None:
        with atomic_file(grid) as file:
            tile(shown).save(file, "PNG")
    return "\n".join(_facts(records) + _colours(statistics) + _labels(records, statistics))


def _check_grid(grid: Path) -> None:
    """Raise UserError where no image can be written, before the data set is read."""
    if grid.suffix.lower() != ".png":
        raise UserError(f"{grid}: a grid is written as PNG; end its name in .png")
    if grid.is_dir():
        raise UserError(f"{grid}: a directory; give the name of a file")


def tile(images: list[np.ndarray]) -> Image.Image:
    """Return one image with all `images` [H, W, C] in rows, about twice as wide as high."""
    columns = max(1, int(np.ceil(np.sqrt(2 * len(images)))))
    height, width, channels = images[0].shape
    rows = -(-len(images) // columns)
    grid = np.full((rows * height, columns * width, channels), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        grid[top : top + height, left : left + width] = image
    return Image.fromarray(grid[:, :, 0] if channels == 1 else grid)


def _measure(records: RecordSet, shown: int = 128) -> tuple[Statistics, list[np.ndarray]]:
    count = sum(len(file) for file in records.files)
    every = max(1, count // shown)
    totals = np.zeros((2, records.channels))
    label_sums = np.zeros(len(records.label_names))
    images = []
    stream = track(iterate_images(records), label=f"reading {records.name}", total=count)
    for number, (image, label) in enumerate(stream):
        values = image.reshape(-1, records.channels).astype(np.float64)
        totals += values.sum(axis=0), np.square(values).sum(axis=0)
        label_sums += label
        if number % every == 0 and len(images) < shown:
            images.append(image)
    mean, square = totals / (count * records.resolution**2)
    return Statistics(mean, np.sqrt(np.maximum(square - mean**2, 0)), label_sums), images


def _facts(records: RecordSet) -> list[str]:
    count = sum(len(file) for file in records.files)
    size = sum(file.path.stat().st_size for file in records.files)
    lines = [
        f"name        {records.name}",
        f"images      {count:,} of {records.resolution}x{records.resolution}, "
        f"{records.channels} channels, {records.encoding}",
        f"files       {len(records.files)}, {size / 1e6:,.1f} MB",
        f"ratio       {records.ratio:g} (height / width of the useful part)",
    ]
    if records.manifest is None:
        return [*lines, "manifest    none (a data set of the official program)"]
    made, source = records.manifest.preparation, records.manifest.source
    steps = ", ".join(f"{key} {made[key]}" for key in ("crop", "filter", "alpha") if key in made)
    return [
        *lines,
        f"prepared    {steps}",
        f"source      {source.get('name')} ({source.get('kind')}), "
        f"{source.get('skipped_count', 0):,} files skipped",
    ]


def _colours(statistics: Statistics) -> list[str]:
    numbers = [" ".join(f"{value:6.1f}" for value in row) for row in (
        statistics.mean, statistics.std)]  # fmt: skip
    return [f"mean        {numbers[0]} (of 255)", f"deviation   {numbers[1]}"]


def _labels(records: RecordSet, statistics: Statistics) -> list[str]:
    if not records.label_names:
        return ["labels      none"]
    return [f"labels      {len(records.label_names)} values", *histogram(
        records.label_names, statistics.label_sums)]  # fmt: skip


def histogram(names: list[str], sums, *, most: int = 40) -> list[str]:
    """Return lines that show how often each label value occurs (its sum over all images)."""
    largest = max([*sums, 1])
    width = max(len(name) for name in names[:most])
    lines = [
        f"  {name:<{width}} {total:>10,.6g} {'#' * round(30 * max(total, 0) / largest)}".rstrip()
        for name, total in zip(names[:most], sums, strict=False)
    ]
    return lines + ([f"  and {len(names) - most} more"] if len(names) > most else [])
