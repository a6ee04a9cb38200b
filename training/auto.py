"""training.preset auto: settings chosen by resolution, number of images and devices, see `choose`.

docs/training.md says which of them were measured here, and which are taken from papers.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

import datasets
from dnnlib.config import flatten, from_mapping, read_yaml
from gansformer.config import DiscriminatorConfig, GeneratorConfig
from metrics.networks.catalogue import is_here
from training.config import DataConfig

GANFORMER = {  # as in all of its configurations
    "generator.components": 16,
    "generator.architecture": "resnet",
    "generator.integration": "mul",
    "generator.norm": "layer",
    "generator.component_embedding": True,
    "generator.mapping.resnet": True,
    "generator.mapping.self_attention": True,
}


def choose(
    resolution: int, images: int | None, *, gpu: bool, devices: int, batch: int | None, heads: bool
) -> dict[str, Any]:
    """Return values by the names of their options, such as training.gamma.

    images: of the data set, None if unknown. gpu: else CPU, and a run of minutes to hours. devices:
    their number. batch: if it is given. heads: whether the discriminator has projected features.
    """
    pixels = resolution**2
    most = min(max(4096 // resolution, 4), 32) if gpu else 4  # images on a device at a time
    if batch is None:
        batch = devices * max(min(most, (64 if gpu else 4) // devices), 1)
    per_device = max(n for n in range(1, most + 1) if n == 1 or batch % (n * devices) == 0)
    chosen = {
        "training.batch_size": batch,
        "training.batch_per_device": per_device,
        "training.gamma": (0.0002 if gpu else 0.0005) * pixels / batch,
        "training.feature_gamma": 100.0,
        "training.ema_kimg": batch * 10 / 32,
        "training.ema_rampup": 0.05,
        "discriminator.stddev_group": min(per_device, 4),
    }
    if gpu:
        learning_rate = 0.0025 if resolution < 1024 else 0.002
        channels, most_channels = (16384 if resolution < 512 else 32768), 512
        if images is not None and images < 30_000:
            chosen["training.augmentation.mode"] = "ada"
    else:
        learning_rate = 0.005
        channels, most_channels = 16 * resolution, 128
        chosen |= {
            "training.regularizer_interval": 2,
            "training.style_mixing": 0.0,
            "training.share_fakes": True,
        }
    return chosen | {
        "training.generator_lr": learning_rate,
        "training.discriminator_lr": 0.001 if heads else learning_rate,
        "generator.channel_base": channels,
        "generator.channel_max": most_channels,
        "discriminator.channel_base": channels if gpu else channels // 2,
        "discriminator.channel_max": most_channels,
    }


def complete(
    options: Mapping[str, Any], *, data: str | Path | None, run: str | Path | None, devices: int
) -> dict[str, Any]:
    """Return nested options with those that are missing, and print these.

    They are chosen for the data set; where the run exists already, they are the run's. Without a
    data set, data.resolution counts, and the number of images is unknown.
    """
    given = flatten(dict(options))
    part = lambda cls, name: from_mapping(cls, options.get(name) or {}, path=name)  # noqa: E731
    resolution, images = part(DataConfig, "data").resolution, None
    if data is not None:
        dataset = datasets.open_dataset(data, given.get("data.resolution"))
        resolution, images = dataset.resolution, dataset.count
    gpu = bool(tf.config.get_visible_devices("GPU"))
    kind = part(DiscriminatorConfig, "discriminator").kind
    chosen = {"data.resolution": resolution}
    if "discriminator.kind" not in given:
        kind = "both" if is_here("efficientnet") and not gpu else "stylegan2"
        chosen["discriminator.kind"] = kind
    if part(GeneratorConfig, "generator").has_attention:
        chosen |= GANFORMER
    batch = given.get("training.batch_size")
    batch = batch if isinstance(batch, int) and batch > 0 else None  # else it is refused later
    chosen |= choose(
        resolution, images, gpu=gpu, devices=devices, batch=batch, heads=kind != "stylegan2"
    )
    if run is not None and (Path(run) / "config.yaml").exists():
        before = flatten(read_yaml(Path(run) / "config.yaml"))
        chosen = {name: before.get(name, value) for name, value in chosen.items()}
    chosen = {name: value for name, value in chosen.items() if name not in given}
    print("training.preset=auto:", *(f"{name}={value}" for name, value in chosen.items()))
    completed = copy.deepcopy(dict(options))
    for name, value in chosen.items():
        *parents, last = name.split(".")
        place = completed
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):  # else that option is wrong, and refused later
            place[last] = value
    return completed
