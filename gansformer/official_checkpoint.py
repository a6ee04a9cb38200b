"""Official checkpoints (TensorFlow 1 pickles) as our snapshots."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.official_pickle import OfficialNetwork, read_networks
from gansformer.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from gansformer.discriminator import Discriminator
from gansformer.official import discriminator_config, generator_config, image_settings
from gansformer.snapshot import Snapshot, make_networks
from gansformer.variables import variables_by_name

NAMED_IN_ERROR = 5  # variables that a message lists; the rest is counted


class Fit(NamedTuple):
    """How the variables of an official network fit ours, by name, each a sorted list.

    unmapped: stored, but of no part of our network. missing: needed, but not stored. misshapen:
    "name [stored shape], [needed shape]". ignored: stored or needed, but without any effect.
    """

    unmapped: list[str]
    missing: list[str]
    misshapen: list[str]
    ignored: list[str]

    def problems(self) -> list[str]:
        """Return a line for each variable that does not fit."""
        return [
            *(f"{name}: belongs to no part of this network" for name in self.unmapped),
            *(f"{name}: is missing" for name in self.missing),
            *(f"{name} needed" for name in self.misshapen),
        ]


def load_official(path: Path) -> Snapshot:
    """Read a pickle of the official GANformer or of NVIDIA's StyleGAN2; nothing in it is executed.

    Raises UserError if it is of another kind, or a variable of it fits no variable of ours.
    """
    snapshot, fits = fit_official(path)
    problems = [f"{name}/{line}" for name, fit in fits.items() for line in fit.problems()]
    if problems:
        more = len(problems) - NAMED_IN_ERROR
        raise UserError(
            f"{path}: is of a network that we do not have; {'; '.join(problems[:NAMED_IN_ERROR])}"
            + (f"; and {more} more" if more > 0 else "")
        )
    return snapshot


def fit_official(path: Path) -> tuple[Snapshot, dict[str, Fit]]:
    """Read a pickle as far as it goes: networks, and how well each of them fits.

    Variables that are not stored keep their initial values.
    """
    official = read_networks(path)
    any_generator = official.get("Gs") or official.get("G")
    config = _model_config(any_generator, official.get("D"))
    networks, fits = {}, {}
    for name, stored in official.items():
        networks |= make_networks([name], config, _image_settings(stored))
        fits[name] = _assign_fitting(networks[name], stored.variables)
    details = {"source": path.name, "psi": official_psi(any_generator)}
    return Snapshot(config, kimg=_kimg(path), **networks, details=details), fits


def official_psi(network: OfficialNetwork | None) -> float | None:
    """Return the truncation that the official program would apply by default, if it is stored."""
    psi = network.settings.get("truncation_psi") if network else None
    return None if psi is None else float(psi)


def _model_config(g: OfficialNetwork | None, d: OfficialNetwork | None) -> ModelConfig:
    """Return the configuration of both networks; one that is not stored has the defaults."""
    generator = _generator_config(g) if g else None
    discriminator = _discriminator_config(d) if d else None
    ratio = (generator or discriminator).crop_ratio
    return ModelConfig(
        generator or GeneratorConfig(crop_ratio=ratio),
        discriminator or DiscriminatorConfig(crop_ratio=ratio),
    )


def _generator_config(network: OfficialNetwork) -> GeneratorConfig:
    config = generator_config(network.settings, network.function)
    if config.image_to_image and not config.has_attention and not _has(network, "AttLayer_n2n"):
        # Without transformer, official networks have left this option out silently.
        return dataclasses.replace(config, image_to_image=0)
    return config


def _discriminator_config(network: OfficialNetwork) -> DiscriminatorConfig:
    config = discriminator_config(network.settings, network.function)
    if config.image_to_image and not config.attention and not _has(network, "AttLayer_n2n"):
        return dataclasses.replace(config, image_to_image=0)
    return config


def _has(network: OfficialNetwork, part: str) -> bool:
    return any(part in name.split("/") for name in network.variables)


def _image_settings(network: OfficialNetwork) -> dict[str, int]:
    """Return resolution, channels and label_dim; the latter from the variables, which cannot lie.

    The official programs pass label sizes on under names that their networks do not always know.
    """
    image = image_settings(network.settings, network.function)
    embedding = network.variables.get("G_mapping/LabelConcat/weight")
    output = network.variables.get("Output/weight")
    if embedding is not None:
        image["label_dim"] = len(embedding)
    elif output is None:
        image["label_dim"] = 0
    elif output.ndim == 2 and (output.shape[1] > 1 or image["label_dim"] > 1):
        image["label_dim"] = output.shape[1] if output.shape[1] > 1 else 0
    return image


def _assign_fitting(network: tf.Module, stored: dict[str, np.ndarray]) -> Fit:
    """Give a network those of the stored variables that fit, and say which do not."""
    needed = variables_by_name(network)
    idle = {name for name in {*stored, *needed} if _is_idle(name, network)}
    misshapen = {
        name: f"{name} {list(stored[name].shape)}, {list(needed[name].shape)}"
        for name in sorted(set(stored) & set(needed))
        if tuple(stored[name].shape) != tuple(needed[name].shape)
    }
    for name in set(stored) & set(needed) - set(misshapen):
        needed[name].assign(stored[name].astype(np.float32))
    return Fit(
        unmapped=sorted(set(stored) - set(needed) - idle),
        missing=sorted(set(needed) - set(stored) - idle),
        misshapen=[text for name, text in misshapen.items() if name not in idle],
        ignored=sorted(idle & ((set(stored) ^ set(needed)) | set(misshapen))),
    )


def _is_idle(name: str, network: tf.Module) -> bool:
    """Return whether a variable exists in some official programs only, and has no effect."""
    if name.rpartition("/")[2] == "lod":  # for growing networks, which these are not
        return True
    config = network.config
    attends = config.attention if isinstance(network, Discriminator) else config.has_attention
    if name == "ltnt_emb/emb":
        return not (attends and config.component_embedding)
    if name == "aggregators":
        return not attends
    last_noise = f"G_synthesis/noise{2 * network.canvas.log2 - 3}"  # belongs to no layer
    return name == last_noise


def _kimg(path: Path) -> float:
    """Return the digits after the last "-" of the file name, as in network-snapshot-010200.pkl."""
    digits = path.stem.rpartition("-")[2]
    return float(digits) if digits.isdigit() else 0.0
