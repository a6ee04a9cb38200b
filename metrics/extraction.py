"""From images to features: one pass through all networks, reading ahead while they work."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from metrics.moments import FeatureStatistics
from metrics.networks.network import FeatureNetwork

BATCH = 32  # for each device


class Need(NamedTuple):
    """An output of a network in a form: "statistics" of it, or all rows: "features", "patches"."""

    network: str
    layer: str
    form: str


class Gaussian(NamedTuple):
    """Mean [D] and covariance [D, D] of features. count: of how many; None if not known."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None


def extract(
    images: Iterable[np.ndarray], networks: dict[str, FeatureNetwork], needs: Iterable[Need]
) -> dict[Need, Gaussian | np.ndarray]:
    """Run images uint8 [H, W, C] through the networks and return what is needed of them.

    Statistics take memory for the feature dimension only, features [N, D] for all images.
    """
    needs = sorted(set(needs))
    used = {name: networks[name] for name in {need.network for need in needs}}
    statistics = {
        need: FeatureStatistics(used[need.network].dimensions[need.layer])
        for need in needs
        if need.form == "statistics"
    }
    rows = {need: [] for need in needs if need.form != "statistics"}
    size = BATCH * max(network.devices for network in used.values())
    with full_float32():
        for batch in _ahead(_batches(images, size)):
            outputs = {name: network.features(batch) for name, network in used.items()}
            for need in needs:
                features = outputs[need.network][need.layer]  # [B, D]
                if need.form == "statistics":
                    statistics[need].update(features)
                else:
                    rows[need].append(features)
    return {
        **{need: Gaussian(s.mean, s.covariance, s.count) for need, s in statistics.items()},
        **{need: _join(need, parts) for need, parts in rows.items()},
    }


def _join(need: Need, parts: list[np.ndarray]) -> np.ndarray:
    try:
        return np.concatenate(parts)
    except ValueError:  # only patches have shapes that depend on the image
        raise UserError(f"{need.form} need images of one size; resize them") from None


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep GPUs from rounding factors to 10 bits (TF32) inside the block, in all threads."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _batches(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Stack images [H, W, C] that follow one another and have the same shape, at most `size`."""
    for _, same in itertools.groupby(images, key=np.shape):
        while part := list(itertools.islice(same, size)):
            yield np.stack(part)  # [B, H, W, C]


def _ahead(items: Iterator) -> Iterator:
    """Yield `items`, making the next one in a thread while the caller works on the last."""
    end = object()
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = pool.submit(next, items, end)
        while (item := pending.result()) is not end:
            pending = pool.submit(next, items, end)
            yield item
