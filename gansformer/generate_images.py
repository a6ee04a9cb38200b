"""What generate.py does: images of a model as files, in an archive, or laid out in one grid."""

import contextlib
import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import atomic_file, require_writable
from dnnlib.images import encode_image, save_image
from dnnlib.progress import track
from gansformer.generation import MOST_IMAGES, label_names
from gansformer.generator import GeneratorOutput
from gansformer.grids import make_attention_grid, make_grid
from gansformer.labels import class_names, read_label
from gansformer.sampling import OpenModel, SamplingOptions
from gansformer.w_files import write_w

ENCODERS = 2  # threads


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """What to write; see `generate.py --help`."""

    grid: bool = False
    columns: int = 8
    attention: bool = False
    all_classes: bool = False
    save_w: bool = False
    zip: bool = False
    format: str = "png"


class _Work(NamedTuple):
    """What is to be made: the name of each image, its noise's seed, and batches of outputs."""

    names: list[str]
    seeds: list[int]
    noise: np.ndarray | None
    batches: Iterator[GeneratorOutput]


def generate_images(
    model: str, out: Path, seeds: Sequence[int], sampling: SamplingOptions, output: OutputOptions
) -> tuple[int, list[Path]]:
    """Write an image for each seed (or w of the file `sampling.w`) into `out`, or one grid.

    Returns how many images, and the files that were written: of single images, only the archive or
    the folder. An image depends on the model, its seed and the sampling options only. Memory does
    not grow with the number of images, but for grids. Raises UserError if the model cannot be
    loaded or does not support the options.
    """
    require_writable(out, "--out")
    opened = OpenModel(model, sampling)
    sampler = opened.attention_sampler if output.attention else opened.sampler
    work = _plan(opened, sampler, list(seeds), output)
    if text := None if output.all_classes or sampling.w else opened.describe_label():
        print(f"label: {text}", flush=True)
    columns = len(seeds) if output.all_classes else output.columns
    out.mkdir(parents=True, exist_ok=True)
    written, grid, attention_rows = [], [], []
    with contextlib.ExitStack() as stack:
        append_w = write = None
        if output.save_w:
            written.append(out / "w.npz")
            append_w = stack.enter_context(
                write_w(written[-1], opened.generator, work.seeds, work.noise)
            )
        if not output.grid:
            written.insert(0, out / "images.zip" if output.zip else out)
            write = stack.enter_context(_image_writer(written[0], output))
        names = iter(work.names)
        for image, w, attention in track(
            _one_by_one(work.batches), label="generating", total=len(work.names)
        ):
            pixels = opened.pixels(image)[0]
            if append_w:
                append_w(w)
            if write:
                write(next(names), pixels)
            else:
                grid.append(pixels)
            if output.attention:
                attention_rows.append(make_attention_grid(image, attention, opened.ratio))
    if output.grid:
        written.insert(0, out / f"grid.{output.format}")
        save_image(make_grid(np.stack(grid), columns), written[0])
    if output.attention:
        written.append(out / f"attention.{output.format}")
        save_image(np.concatenate(attention_rows), written[-1])
    return len(work.names), written


def _plan(opened: OpenModel, sampler, seeds: list[int], output: OutputOptions) -> _Work:
    if opened.options.w is not None:
        start = opened.start([])
        items = ((w, start.seeds[i], start.noise_of(i)) for i, w in enumerate(start.w))
        return _Work(start.names, start.seeds, start.noise, sampler.synthesize_batches(items))
    names = [f"seed{seed:06d}" for seed in seeds]
    labels = None
    if output.all_classes:
        classes, vectors = _all_classes(opened)
        if len(classes) * len(seeds) > MOST_IMAGES:
            raise UserError(f"--all-classes: more than {MOST_IMAGES:,} images; make them in parts")
        names = [f"{_as_file_name(label)}-{name}" for label in classes for name in names]
        labels = np.repeat(vectors, len(seeds), axis=0)
        seeds = seeds * len(classes)
    else:
        labels = opened.labels(len(seeds))
    batches = (out for _, out in sampler.batches(seeds, labels))
    return _Work(names, seeds, None, batches)


def _all_classes(opened: OpenModel) -> tuple[list[str], np.ndarray]:
    size = opened.generator.label_dim
    if not size:
        raise UserError("this model is not conditional; leave --all-classes out")
    names = label_names(opened.snapshot, size)
    numbers = opened.snapshot.details.get("label_numbers")
    classes = class_names(names, numbers)
    return classes, np.stack([read_label(name, names, numbers) for name in classes])


def _as_file_name(label: str) -> str:
    return re.sub(r"[^\w.-]", "_", label)


def _one_by_one(batches) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Yield (image [1, H, W, C], w [1, K, L, w_dim], attention maps [1, A, h, w, k]) of each."""
    for out in batches:
        for i in range(len(out.images)):
            one = slice(i, i + 1)
            yield out.images[one], out.w[one], [maps[one] for maps in out.attention or []]


@contextlib.contextmanager
def _image_writer(
    place: Path, output: OutputOptions
) -> Iterator[Callable[[str, np.ndarray], None]]:
    """Yield a function that writes an image of a name, into an archive or a folder.

    Images are compressed while the next ones are made, and written in their order.
    """
    with contextlib.ExitStack() as stack:
        if output.zip:
            archive = stack.enter_context(
                ZipFile(stack.enter_context(atomic_file(place)), "w", allowZip64=True)
            )
            prepare = lambda pixels, name: encode_image(pixels, output.format)  # noqa: E731
            finish = lambda name, content: archive.writestr(name, content)  # noqa: E731
        else:
            prepare = lambda pixels, name: save_image(pixels, place / name)  # noqa: E731
            finish = lambda name, content: None  # noqa: E731
        pool = stack.enter_context(ThreadPoolExecutor(ENCODERS))
        waiting: deque = deque()

        def finish_first() -> None:
            name, content = waiting.popleft()
            finish(name, content.result())

        def write(name: str, pixels: np.ndarray) -> None:
            name = f"{name}.{output.format}"
            waiting.append((name, pool.submit(prepare, pixels, name)))
            while len(waiting) > 4 * ENCODERS:
                finish_first()

        yield write
        while waiting:
            finish_first()
