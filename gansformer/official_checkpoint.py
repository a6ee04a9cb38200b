"""Official checkpoints (pickles of TensorFlow 1 and of PyTorch) as our snapshots."""

import dataclasses
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.official_pickle import OfficialNetwork, TorchFile, read_networks
from gansformer.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from gansformer.fit import Fit, assign_fitting, kimg_of, require_fit
from gansformer.official import discriminator_config, generator_config, image_settings
from gansformer.official_ada import (
    discriminator_settings,
    in_our_names,
    label_embedding,
    with_ada_discriminator,
    with_ada_generator,
)
from gansformer.snapshot import Snapshot, make_networks
from gansformer.torch_checkpoint import fit_torch


def load_official(path: Path) -> Snapshot:
    """Read a pickle of the GANformer, StyleGAN2 or StyleGAN2-ADA (TensorFlow 1 or PyTorch).

    Nothing in it is executed.

    Raises UserError if it is of another kind, or a variable of it fits no variable of ours.
    """
    snapshot, fits = fit_official(path)
    require_fit(path, fits)
    return snapshot


def fit_official(
    path: Path, *, normalize_jointly: bool | None = None
) -> tuple[Snapshot, dict[str, Fit]]:
    """Read a pickle as far as it goes: networks, and how well each of them fits.

    Variables that are not stored keep their initial values. normalize_jointly: see `fit_torch`.
    """
    try:
        official = read_networks(path)
    except TorchFile:
        return fit_torch(path, normalize_jointly=normalize_jointly)
    if normalize_jointly is not None:
        raise UserError(f"{path} is of TensorFlow, where each is normalised; leave --normalize out")
    any_generator = official.get("Gs") or official.get("G")
    config = _model_config(any_generator, official.get("D"))
    networks, fits = {}, {}
    for name, stored in official.items():
        networks |= make_networks([name], config, _image_settings(stored))
        fits[name] = assign_fitting(networks[name], in_our_names(stored).variables)
    details = {"source": path.name, "psi": official_psi(any_generator)}
    return Snapshot(config, kimg=kimg_of(path), **networks, details=details), fits


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
    config = with_ada_generator(config, network)
    if config.image_to_image and not config.has_attention and not _has(network, "AttLayer_n2n"):
        # Without transformer, official networks have left this option out silently.
        return dataclasses.replace(config, image_to_image=0)
    return config


def _discriminator_config(network: OfficialNetwork) -> DiscriminatorConfig:
    config = discriminator_config(discriminator_settings(network), network.function)
    config = with_ada_discriminator(config, network)
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
    embedding = label_embedding(network)
    if embedding is None:
        embedding = network.variables.get("G_mapping/LabelConcat/weight")
    output = network.variables.get("Output/weight")
    if embedding is not None:
        image["label_dim"] = len(embedding)
    elif output is None:
        image["label_dim"] = 0
    elif output.ndim == 2 and (output.shape[1] > 1 or image["label_dim"] > 1):
        image["label_dim"] = output.shape[1] if output.shape[1] > 1 else 0
    return image
