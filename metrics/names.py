"""The metrics by name: `fid50k`, `pr50k3`, `fd-efficientnet10k` ..."""

import re
from dataclasses import dataclass, replace

from dnnlib.errors import UserError, suggest
from metrics.path_length import LatentPath


@dataclass(frozen=True)
class Family:
    """What a kind of metric compares.

    form: "statistics", "features", "patches", "probabilities" or "path". scale: what the distance
    is multiplied by, as is usual for it.
    """

    form: str
    network: str
    layer: str
    neighbours: int | None = None  # default k, where there is one
    path: LatentPath | None = None
    scale: float = 1.0


def _path_lengths(suffix: str, network: str, layer: str) -> dict[str, Family]:
    """ppl_... look at the face only, as in the StyleGAN paper, ppl2_... at the whole image."""
    return {
        f"{family}_{space}{sampling}{suffix}": Family(
            "path", network, layer, path=LatentPath(space, sampling, face=family == "ppl")
        )
        for family in ("ppl", "ppl2")
        for space in ("z", "w")
        for sampling in ("full", "end")
    }


FAMILIES = {
    "fid": Family("statistics", "inception", "pool_3"),
    "cleanfid": Family("statistics", "inception-clean", "pool_3"),
    "kid": Family("features", "inception", "pool_3"),
    "is": Family("probabilities", "inception", "probabilities"),
    "pr": Family("features", "vgg16", "fc2", neighbours=3),
    "dc": Family("features", "vgg16", "fc2", neighbours=5),
    **_path_lengths("", "lpips", "embedding"),
    "fd-efficientnet": Family("statistics", "efficientnet", "pool"),
    "kd-efficientnet": Family("features", "efficientnet", "pool"),
    "is-efficientnet": Family("probabilities", "efficientnet", "probabilities"),
    "pr-efficientnet": Family("features", "efficientnet", "pool", neighbours=3),
    "dc-efficientnet": Family("features", "efficientnet", "pool", neighbours=5),
    **_path_lengths("-efficientnet", "efficientnet", "pool"),
    "swd": Family("patches", "patches", "patches", scale=1000),
    "fd-layout": Family("statistics", "layout", "cells", scale=10),
    "fd-custom": Family("statistics", "custom", "features"),
    "kd-custom": Family("features", "custom", "features"),
    "pr-custom": Family("features", "custom", "features", neighbours=3),
    "dc-custom": Family("features", "custom", "features", neighbours=5),
}
OFFICIAL_COUNT = 50_000


@dataclass(frozen=True)
class Metric:
    """One metric. count: images of each side; neighbours: k, where the family has one."""

    family: str
    count: int = OFFICIAL_COUNT
    neighbours: int | None = None

    @property
    def kind(self) -> Family:
        """What it compares."""
        return FAMILIES[self.family]

    @property
    def name(self) -> str:
        """Its name with the count, such as `fid50k`."""
        thousands = self.count >= 1000 and self.count % 100 == 0 or self.neighbours
        count = f"{self.count / 1000:.12g}k" if thousands else f"{self.count}"
        return f"{self.family}{count}{self.neighbours or ''}"


def parse_metrics(text: str, count: int | None = None) -> list[Metric]:
    """Read names separated by commas. count: overrides the counts in the names.

    A name is a family, a number of images (50k without), and after a `k` the neighbours: pr10k5.
    Raises UserError for names that are not known.
    """
    metrics = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        metric = _parse(name)
        metrics.append(replace(metric, count=count) if count is not None else metric)
    if not metrics:
        raise UserError(f"no metrics given; there are {', '.join(FAMILIES)}")
    if min(metric.count for metric in metrics) < 2:
        raise UserError("a metric needs two images or more")
    return list(dict.fromkeys(metrics))


def _parse(name: str) -> Metric:
    families = "|".join(sorted(FAMILIES, key=len, reverse=True))
    match = re.fullmatch(rf"({families})(?:(\d+(?:\.\d+)?)k(\d+)?|(\d+))?", name)
    if match is None:
        letters = re.match(r"(?:[a-z]+\d_)?[a-z_-]*", name)[0]
        raise UserError(
            f"metric {name} is not known{suggest(letters, FAMILIES)}; "
            f"there are {', '.join(FAMILIES)}, with a number of images, such as fid50k"
        )
    family, thousands, neighbours, ones = match.groups()
    default = FAMILIES[family].neighbours
    if neighbours and default is None:
        raise UserError(f"metric {name}: {family} has no neighbours; leave the last number out")
    if neighbours and not int(neighbours):
        raise UserError(f"metric {name}: needs 1 neighbour or more")
    count = round(float(thousands) * 1000) if thousands else int(ones or OFFICIAL_COUNT)
    return Metric(family, count, int(neighbours) if neighbours else default)
