"""Metrics of images against images, whatever they come from."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.cache import cache_directory, is_writable
from dnnlib.errors import UserError
from dnnlib.image_folders import LeftAside
from dnnlib.progress import track
from metrics.extraction import Gaussian, Need, extract, full_float32
from metrics.feature_cache import entry_path, load_entry, save_entry
from metrics.frechet import covariance_rank, frechet_distance
from metrics.image_sources import ImageSource
from metrics.inception_score import inception_score
from metrics.kernel import choose_subset_size, kernel_distance
from metrics.names import OFFICIAL_COUNT, Metric
from metrics.neighbours import density_coverage, precision_recall
from metrics.networks.catalogue import load_network
from metrics.networks.network import FeatureNetwork
from metrics.path_length import perceptual_path_length
from metrics.sliced_wasserstein import sliced_wasserstein_distance

IS_SPLITS = 10
FEW = 250  # images in a split or subset; with fewer the numbers are marked


@dataclasses.dataclass
class Comparison:
    """Compares images; keeps the feature networks and the cache between calls.

    directory: of weights and cached statistics. from_file: weights by network name.
    cache: whether features of real images are kept. allow_small: give a Frechet distance also
    where there are fewer images than feature dimensions. report: called with what is noteworthy.
    """

    directory: Path = dataclasses.field(default_factory=lambda: cache_directory("metrics"))
    from_file: dict[str, Path] = dataclasses.field(default_factory=dict)
    cache: bool = True
    allow_small: bool = False
    report: Callable[[str], None] = print
    networks: dict[str, FeatureNetwork] = dataclasses.field(default_factory=dict)
    _reported: set[str] = dataclasses.field(default_factory=set)
    _memory: dict[Path, Gaussian | np.ndarray] = dataclasses.field(default_factory=dict)

    def evaluate(
        self, metrics: Sequence[Metric], real: ImageSource, fake: ImageSource
    ) -> dict[str, float]:
        """Return the values by name. Raises UserError where a number would mean nothing."""
        self._check_cache()
        for side in (real, fake):
            for line in getattr(side, "left_aside", LeftAside()).describe():
                self._report_once(f"{side.name}: left aside: {line}")
        for name in dict.fromkeys(metric.kind.network for metric in metrics):
            if name not in self.networks:
                source = self.from_file.get(name) or self.from_file.get(name.partition("-")[0])
                self.networks[name] = load_network(name, self.directory, from_file=source)
        for metric in metrics:
            self._check(metric, real, fake)
        values: dict[str, float] = {}
        compared = [metric for metric in metrics if metric.kind.form != "path"]
        for count in dict.fromkeys(metric.count for metric in compared):
            group = [metric for metric in compared if metric.count == count]
            values |= self._evaluate_count(group, count, real, fake)
        for metric in metrics:
            if metric.kind.form == "path":
                values[metric.name] = self._path_length(metric, fake)
        return values

    def _path_length(self, metric: Metric, fake: ImageSource) -> float:
        kind = metric.kind
        compare = self.networks[kind.network].squared_distances
        pairs = track(fake.pairs(metric.count, kind.path), label=metric.name, unit="batch")
        with full_float32():
            distances = [compare(kind.layer, first, second) for first, second in pairs]
        return perceptual_path_length(np.concatenate(distances))

    def _evaluate_count(
        self, metrics: list[Metric], count: int, real: ImageSource, fake: ImageSource
    ) -> dict[str, float]:
        needs = {metric: _need(metric) for metric in metrics}
        compared = [needs[metric] for metric in metrics if metric.kind.form != "probabilities"]
        real_values = self._real_features(real, count, compared)
        images = track(self._look_at(fake, count), label="generated images", total=count)
        fake_values = extract(images, self.networks, needs.values())
        values = {}
        for metric, need in needs.items():
            try:
                values |= _compute(metric, real_values.get(need), fake_values[need])
            except ValueError as error:
                raise UserError(f"{metric.name} cannot be computed: {error}") from error
            if need.form == "statistics" and need.network != "layout":  # borders are often white
                self._report_rank(metric, real_values[need], fake_values[need])
        return values

    def _real_features(
        self, real: ImageSource, count: int, needs: Iterable[Need]
    ) -> dict[Need, Gaussian | np.ndarray]:
        """Return features of real images: given ones, cached ones, or newly extracted ones."""
        found = {}
        if real.statistics is not None:
            found = dict.fromkeys(needs, real.statistics)
        missing = [need for need in dict.fromkeys(needs) if need not in found]
        keys = {need: self._key(real, count, need) for need in missing}
        found |= {
            need: value for need in missing if (value := self._recall(keys[need])) is not None
        }
        missing = [need for need in missing if need not in found]
        if missing:
            number = count if real.count is None else min(count, real.count)
            images = track(self._look_at(real, count), label="real images", total=number)
            for need, value in extract(images, self.networks, missing).items():
                found[need] = value
                self._keep(keys[need], value)
        return found

    def _look_at(self, side: ImageSource, count: int) -> Iterator[np.ndarray]:
        """Yield images; say if transparency is seen."""
        for image in side.images(count):
            if image.shape[-1] == 4:
                self._report_once(f"{side.name}: images with transparency are compared on white")
            yield image

    def _check_cache(self) -> None:
        """Find out before the long work whether its results can be kept."""
        if self.cache and not is_writable(self._entries):
            self.cache = False
            self._report_once(
                f"{self._entries} cannot be written; statistics of real images are not kept"
            )

    def _recall(self, key: dict[str, Any]) -> Gaussian | np.ndarray | None:
        path = entry_path(self._entries, key)
        if path not in self._memory and self.cache and (entry := load_entry(self._entries, key)):
            self._memory[path], made = entry
            self._report_once(f"using cached {key['form']} of {key['data']}, made {made}: {path}")
        return self._memory.get(path)

    def _keep(self, key: dict[str, Any], value: Gaussian | np.ndarray) -> None:
        if key["form"] == "patches":
            return  # gigabytes, and soon made again
        self._memory[entry_path(self._entries, key)] = value
        if self.cache:
            save_entry(self._entries, key, value)

    def _report_once(self, message: str) -> None:
        """Report, each message once."""
        if message not in self._reported:
            self._reported.add(message)
            self.report(message)

    @property
    def _entries(self) -> Path:
        return Path(self.directory) / "statistics"

    def _key(self, real: ImageSource, count: int, need: Need) -> dict[str, Any]:
        network = self.networks[need.network]
        return {
            "data": real.name,
            "data_digest": real.digest,
            **real.preparation,
            "count": count if real.count is None else min(count, real.count),
            "network": need.network,
            "network_digest": network.digest,
            "preprocessing": network.preprocessing,
            "layer": need.layer,
            "form": need.form,
        }

    def _check(self, metric: Metric, real: ImageSource, fake: ImageSource) -> None:
        """Refuse what means nothing; report what is not comparable with published numbers."""
        form = metric.kind.form
        if form == "path":
            if not hasattr(fake, "pairs"):
                raise UserError(f"{metric.name} needs a generator; {fake.name} holds images")
            return
        dimension = self.networks[metric.kind.network].dimensions[metric.kind.layer]
        given = real.statistics
        if given is not None and form in ("features", "patches"):
            raise UserError(
                f"{metric.name} needs images; {real.name} holds statistics, for Frechet only"
            )
        if given is not None and form == "statistics" and given.mean.shape != (dimension,):
            raise UserError(
                f"{real.name} has statistics of {given.mean.size} features; {metric.kind.network}"
                f" has {dimension}: they were made with another network"
            )
        sides = [fake] if form == "probabilities" else [fake, real]
        for side in sides:
            number = metric.count if side.count is None else min(metric.count, side.count)
            if side.count is not None and side.count < metric.count:
                self._report_once(f"{metric.name}: {side.name} has only {side.count} images")
            self._check_number(metric, side.name, number)
            if form == "statistics" and number <= dimension and not self.allow_small:
                raise UserError(
                    f"{metric.name}: {number} images of {side.name} cannot give a covariance of "
                    f"{dimension} features; use more than {dimension}, or --allow-small for a "
                    "number that can only be compared with others of the same count"
                )
        if fake.count is not None and fake.count < metric.count:
            raise UserError(
                f"{metric.name}: {fake.name} has {fake.count} images; use --num {fake.count}"
            )
        if metric.count != OFFICIAL_COUNT and "-" not in metric.family and form != "patches":
            self._report_once(f"{metric.name}: published values are of {OFFICIAL_COUNT} images")

    def _check_number(self, metric: Metric, name: str, number: int) -> None:
        """Refuse or mark a metric of too few images."""
        family = metric.family.partition("-")[0]
        if metric.neighbours is not None and number <= metric.neighbours:
            raise UserError(
                f"{metric.name}: {metric.neighbours} neighbours need more than "
                f"{metric.neighbours} images; {name} gives {number}"
            )
        if family == "is" and number < 2 * IS_SPLITS:
            raise UserError(
                f"{metric.name}: {IS_SPLITS} splits need {2 * IS_SPLITS} images or more; {name} "
                f"gives {number}"
            )
        if family == "is" and number < IS_SPLITS * FEW:
            self._report_once(
                f"{metric.name}: splits of only {number // IS_SPLITS} images; the score cannot "
                "exceed that and grows with it (published values: 5000)"
            )
        if family in ("kid", "kd"):
            if number < 3:
                raise UserError(f"{metric.name}: needs 3 images or more; {name} gives {number}")
            size = choose_subset_size(number)
            if size < FEW:
                self._report_once(
                    f"{metric.name}: subsets of only {size} images (published values: 1000); the "
                    "value is right on average, its spread is large"
                )
        if number < 2:
            raise UserError(f"{metric.name}: needs 2 images or more; {name} gives {number}")

    def _report_rank(self, metric: Metric, real: Gaussian, fake: Gaussian) -> None:
        for side, gaussian in (("real", real), ("generated", fake)):
            rank, dimension = covariance_rank(gaussian.covariance), len(gaussian.mean)
            if rank < dimension:
                self._report_once(
                    f"{metric.name}: the {side} images' covariance has rank {rank} of {dimension}"
                )


def _need(metric: Metric) -> Need:
    kind = metric.kind
    form = kind.form if kind.form in ("statistics", "patches") else "features"
    return Need(kind.network, kind.layer, form)


def _compute(metric: Metric, real: Any, fake: Any) -> dict[str, float]:
    """Return the values of one metric by name."""
    name, family = metric.name, metric.family.partition("-")[0]
    if family in ("fid", "cleanfid", "fd"):
        distance = frechet_distance(real.mean, real.covariance, fake.mean, fake.covariance)
        return {name: metric.kind.scale * distance}
    if family == "swd":
        return {name: metric.kind.scale * _compare_patches(real, fake)}
    if family in ("kid", "kd"):
        return _named(name, ("", "_std"), kernel_distance(real, fake))
    if family == "is":
        return _named(name, ("", "_std"), inception_score(fake, splits=IS_SPLITS))
    if family == "pr":
        values = precision_recall(real, fake, k=metric.neighbours)
        return _named(name, ("_precision", "_recall"), values)
    values = density_coverage(real, fake, k=metric.neighbours)
    return _named(name, ("_density", "_coverage"), values)


def _compare_patches(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the mean over levels of the distances of patches [N, levels, patches, pixels, 3]."""
    if real.shape[1] != fake.shape[1]:
        raise ValueError("the images differ in size; resize one side")
    count = min(len(real), len(fake))
    join = lambda side, level: side[:count, level].reshape(-1, *side.shape[3:])  # noqa: E731
    levels = range(real.shape[1])
    distances = [sliced_wasserstein_distance(join(real, n), join(fake, n)) for n in levels]
    return float(np.mean(distances))


def _named(name: str, suffixes: tuple[str, str], values: tuple[float, float]) -> dict[str, float]:
    return {f"{name}{suffix}": value for suffix, value in zip(suffixes, values, strict=True)}
