"""Evaluation: images of generators and of data sets, compared by the metrics."""

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import datasets
from datasets.dataset import Dataset
from datasets.opening import holds_data_set
from datasets.permutation import epoch_order
from dnnlib.cache import is_writable
from dnnlib.errors import UserError
from dnnlib.json_lines import append_line
from gansformer.canvas import Canvas
from gansformer.generation import Sampler, choose_generator
from gansformer.generator import Generator
from gansformer.loading import load
from gansformer.snapshot import Snapshot
from metrics.comparison import Comparison
from metrics.image_sources import ImageSource, open_images
from metrics.names import Metric, parse_metrics
from metrics.path_length import LatentPath
from training.measure.paths import PathSampler, crop_face, shrink

READ_BATCH = 32


def to_metric_uint8(images: np.ndarray) -> np.ndarray:
    """From [-1, 1] to 0..255 as the official metrics do it: cut off, not rounded."""
    if not np.isfinite(images).all():
        raise UserError("the generator's images are not finite (nan); there is nothing to measure")
    return np.clip(images * 127.5 + 128, 0, 255).astype(np.uint8)


def crop_metric_rows(images: np.ndarray, ratio: float) -> np.ndarray:
    """Return the useful rows of padded squares [B, H, W, C], as the official metrics cut them.

    Both ends are included: one row more than the ratio says. It is part of the published numbers.
    Images that are not square (of a rectangular canvas) have useful rows only.
    """
    size = images.shape[1]
    if ratio >= 1 or size != images.shape[2]:
        return images
    first, last = int(np.floor((1 - ratio) * size / 2)), int(np.ceil((1 + ratio) * size / 2))
    return images[:, first : last + 1]


class DatasetImages:
    """Images of a prepared data set: a fixed random choice, cropped by the set's ratio.

    mirror: flip a fixed random half of them, as for runs that were trained so.
    canvas: of the generator to compare with; of a rectangular one, its rows are taken.
    """

    statistics = None

    def __init__(self, dataset: Dataset, *, mirror: bool = False, canvas: Canvas | None = None):
        self.dataset, self.mirror = dataset, mirror
        self._canvas = canvas
        self.name, self.count = dataset.name, dataset.count
        self.preparation = {
            "resolution": dataset.resolution,
            "ratio": dataset.ratio,
            "mirror": mirror,
        }
        if canvas is not None and canvas.crop_ratio is not None:
            self.preparation["crop_ratio"] = canvas.crop_ratio

    @property
    def digest(self) -> str:
        """The data set's."""
        return self.dataset.digest

    def images(self, count: int) -> Iterator[np.ndarray]:
        """Yield images uint8 [H, W, C] in the order of their numbers."""
        numbers = np.sort(epoch_order(self.count, seed=0, epoch=0)[:count])
        flips = np.random.default_rng(0).random(self.count) < 0.5
        for start in range(0, len(numbers), READ_BATCH):
            part = numbers[start : start + READ_BATCH]
            images = self.dataset.read(part)[0]
            images = images if self._canvas is None else self._canvas.crop(images)
            images = crop_metric_rows(images, self.dataset.ratio)
            for number, image in zip(part, images, strict=True):
                yield image[:, ::-1] if self.mirror and flips[number] else image


class GeneratorImages:
    """Images of a generator from the seeds `seed`, `seed` + 1, ...; by default not truncated.

    label_source: data set from which a conditional generator takes random labels.
    """

    statistics = None
    count = None

    def __init__(
        self,
        generator: Generator,
        *,
        name: str = "generator",
        seed: int = 0,
        psi: float = 1.0,
        noise: str = "random",
        ratio: float = 1.0,
        label_source: Dataset | None = None,
    ):
        if generator.label_dim and (label_source is None or not label_source.label_dim):
            raise UserError(f"{name} is conditional; evaluate it against its data set with labels")
        self._how = {"psi": psi, "noise": noise}
        self.name, self._sampler = name, Sampler(generator, **self._how)
        self._labels = label_source if generator.label_dim else None
        self._seed, self._ratio = seed, ratio
        self.preparation = {"seed": seed, "psi": psi, "noise": noise, "ratio": ratio}
        if psi != 1:
            self.preparation["truncation"] = generator.truncation

    @property
    def digest(self) -> str:
        """Not computed: images of generators are not cached."""
        return ""

    def images(self, count: int) -> Iterator[np.ndarray]:
        """Yield images uint8 [H, W, C] in the order of their seeds."""
        batches = self._sampler.batches(self._seeds(count), self._random_labels(count))
        for _, out in batches:
            yield from crop_metric_rows(to_metric_uint8(out.images), self._ratio)

    def pairs(self, count: int, path: LatentPath) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yield batches of pairs of images that are close to each other on latent paths."""
        sampler = PathSampler(self._sampler.generator, path, **self._how)
        for pair in sampler.pairs(self._seeds(count), self._random_labels(count)):
            pair = (crop_metric_rows(images, self._ratio) for images in pair)
            yield tuple(shrink(crop_face(images) if path.face else images) for images in pair)

    def _seeds(self, count: int) -> range:
        return range(self._seed, self._seed + count)

    def _random_labels(self, count: int) -> np.ndarray | None:
        return None if self._labels is None else _random_labels(self._labels, count)


def _random_labels(dataset: Dataset, count: int) -> np.ndarray:
    """Labels [count, label_dim] of images in random order, epoch after epoch."""
    epochs = -(-count // dataset.count)
    orders = [epoch_order(dataset.count, seed=1, epoch=epoch) for epoch in range(epochs)]
    numbers = np.concatenate(orders)[:count]
    parts = [
        dataset.read(numbers[start : start + READ_BATCH])[1]
        for start in range(0, count, READ_BATCH)
    ]
    return np.concatenate(parts)


def evaluate_generator(
    generator: Generator,
    dataset: Dataset,
    names: str,
    *,
    comparison: Comparison | None = None,
    mirror: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Return the metrics `names` ("fid10k,pr10k3") of a generator on a data set, by name.

    comparison: keep one between calls and the networks are loaded once. The same weights give the
    same numbers: seeds and real images are fixed. Raises UserError if a metric cannot be had, for
    example because weights are missing.
    """
    comparison = comparison or Comparison()
    real = DatasetImages(dataset, mirror=mirror, canvas=generator.canvas)
    fake = GeneratorImages(generator, seed=seed, ratio=dataset.ratio, label_source=dataset)
    return comparison.evaluate(parse_metrics(names), real, fake)


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """How models are evaluated; see `evaluate.py --help`."""

    network: str = "Gs"
    seed: int = 0
    psi: float = 1.0
    truncation: str | None = None  # see GenerationOptions
    noise: str = "random"
    mirror: bool = False
    alpha: str = "drop"  # of images in folders; or "composite:COLOUR"
    out: Path | None = None
    dtype: tf.DType = tf.float32  # of the generator's feature maps


def evaluate_models(
    models: Sequence[str],
    data: Path,
    metrics: Sequence[Metric],
    comparison: Comparison,
    options: EvaluationOptions,
    *,
    show: Callable[[str], None] = print,
) -> None:
    """Evaluate models (or folders or npz files of images) one after another.

    Appends a line for each to metrics.jsonl of its run, to `options.out`, or to metrics.jsonl here.
    """
    if all(_holds_images(Path(model)) for model in models):
        _refuse_generator_options(options)
    for model in models:
        path = options.out or _record_path(model)
        _require_writable(path)
        record = evaluate_model(model, data, metrics, comparison, options)
        append_line(path, record)
        values = record["metrics"].items()
        line = "  ".join(f"{name} {value:.4f}" for name, value in values)
        show(f"{model}: {line}  (written to {path})")


def evaluate_model(
    model: str,
    data: Path,
    metrics: Sequence[Metric],
    comparison: Comparison,
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Return the metrics of one model, and all that they depend on."""
    started = time.monotonic()
    fake, real, facts = _open_pair(model, data, options)
    values = comparison.evaluate(metrics, real, fake)
    return {
        **facts,
        "metrics": values,
        "data": str(data),
        "real": {"digest": real.digest, "count": real.count, **real.preparation},
        "fake": {"digest": fake.digest, "count": fake.count, **fake.preparation},
        "networks": {
            name: comparison.networks[name].digest
            for name in dict.fromkeys(metric.kind.network for metric in metrics)
        },
        "versions": {"tensorflow": tf.__version__, "python": platform.python_version()},
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "seconds": round(time.monotonic() - started, 1),
    }


def _refuse_generator_options(options: EvaluationOptions) -> None:
    """Raise UserError if an option was given that has an effect on generators only."""
    flags = {name: f"--{name}" for name in ("network", "seed", "psi", "truncation", "noise")}
    for name, flag in {**flags, "dtype": "--precision"}.items():
        if getattr(options, name) != getattr(EvaluationOptions(), name):
            raise UserError(f"{flag} has no effect on images that are already there; leave it out")


def _require_writable(path: Path) -> None:
    """Raise UserError, before the long work, if its results could not be written."""
    is_closed = path.exists() and not os.access(path, os.W_OK)
    if path.is_dir() or is_closed or not is_writable(path.parent):
        raise UserError(f"{path}: cannot be written; give a file for the results with --out")
    path.parent.mkdir(parents=True, exist_ok=True)


def _open_pair(
    model: str, data: Path, options: EvaluationOptions
) -> tuple[ImageSource, ImageSource, dict[str, Any]]:
    """Open a model (or images) and the data (or images, or statistics)."""
    if _holds_images(Path(model)):
        fake = open_images(Path(model), options.alpha)
        if fake.statistics is not None:
            raise UserError(f"{model} holds statistics; give them as --data, and images here")
        return fake, _open_real(data, None, options), {"model": model}
    snapshot = load(model)
    generator = choose_generator(
        snapshot, options.network, model, options.dtype, options.truncation
    )
    real = _open_real(data, generator.canvas, options)
    dataset = real.dataset if isinstance(real, DatasetImages) else None
    fake = GeneratorImages(
        generator,
        name=model,
        seed=options.seed,
        psi=options.psi,
        noise=options.noise,
        ratio=_choose_ratio(model, snapshot, dataset),
        label_source=dataset,
    )
    return fake, real, {"model": model, "kimg": snapshot.kimg, "network": options.network}


def _choose_ratio(model: str, snapshot: Snapshot, dataset: Dataset | None) -> float:
    """Return the ratio by which images are cropped; both sides must be cropped alike."""
    trained = snapshot.details.get("ratio")
    if dataset is None:
        return trained or 1.0
    if trained is not None and trained != dataset.ratio:
        raise UserError(
            f"{model} was trained on images of ratio {trained}; {dataset.directory} has "
            f"{dataset.ratio}; evaluate it on the data set it was trained on"
        )
    return dataset.ratio


def _open_real(data: Path, canvas: Canvas | None, options: EvaluationOptions) -> ImageSource:
    if holds_data_set(data):
        dataset = datasets.open_dataset(data, canvas and canvas.resolution)
        return DatasetImages(dataset, mirror=options.mirror, canvas=canvas)
    if options.mirror:
        raise UserError("--mirror works with prepared data sets only")
    return open_images(data, options.alpha)


def _holds_images(path: Path) -> bool:
    """Return whether a path is a folder or npz of images, not a run, a snapshot or a pickle."""
    if path.is_dir():
        return not (path / "config.json").exists() and not (path / "snapshots").exists()
    return path.suffix == ".npz"


def _record_path(model: str) -> Path:
    """Return the metrics.jsonl of the run that a snapshot belongs to, or one in this directory."""
    path = Path(model)
    if (path / "snapshots").is_dir():
        return path / "metrics.jsonl"
    if path.parent.name == "snapshots":
        return path.parent.parent / "metrics.jsonl"
    return Path("metrics.jsonl")
