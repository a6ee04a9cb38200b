"""StyleGAN2-ADA's TensorFlow networks, where they have more than StyleGAN2's: labels, last layer.

The clamp, another setting, is read with the rest in `gansformer.official`. Widths are those of the
variables, since the program derives them from settings that are mostly not stored.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from dnnlib.config import from_mapping
from dnnlib.official_pickle import OfficialNetwork
from gansformer.canvas import channels_at
from gansformer.config import (
    WHOLE_BATCH,
    DiscriminatorConfig,
    GeneratorConfig,
    LabelMappingConfig,
)

_EMBEDDINGS = ("G_mapping/LabelEmbed/weight", "LabelEmbed/weight")
_LABEL_SETTINGS = ("mapping_layers", "mapping_fmaps", "mapping_lrmul")


def label_embedding(network: OfficialNetwork) -> np.ndarray | None:
    """Return ADA's matrix [label_dim, width] from labels, of a conditional network."""
    found = [network.variables[name] for name in _EMBEDDINGS if name in network.variables]
    return found[0] if found and found[0].ndim == 2 else None


def with_ada_generator(config: GeneratorConfig, network: OfficialNetwork) -> GeneratorConfig:
    """Return the configuration with ADA's label embedding if the network has it."""
    embedding = label_embedding(network)
    if embedding is None:
        return config
    mapping = dataclasses.replace(config.mapping, label_embedding_dim=embedding.shape[1])
    return dataclasses.replace(config, mapping=mapping)


def discriminator_settings(network: OfficialNetwork) -> dict[str, Any]:
    """Return the settings of a discriminator, ADA's as StyleGAN2 would have them.

    Its group of minibatch stddev is the batch by default, and its label layers have settings.
    """
    if not _is_ada_discriminator(network):
        return network.settings
    settings = {k: value for k, value in network.settings.items() if k not in _LABEL_SETTINGS}
    if settings.get("mbstd_group_size") is None:
        settings["mbstd_group_size"] = WHOLE_BATCH
    if settings.get("mbstd_num_features") == 0:
        settings |= {"mbstd_group_size": 0, "mbstd_num_features": 1}
    return settings


def with_ada_discriminator(
    config: DiscriminatorConfig, network: OfficialNetwork
) -> DiscriminatorConfig:
    """Return the configuration of ADA's discriminator; of another one what was given."""
    if not _is_ada_discriminator(network):
        return config
    bias, embedding = network.variables.get("4x4/Dense0/bias"), label_embedding(network)
    default = channels_at(1, base=config.channel_base, maximum=config.channel_max)
    if bias is not None and bias.size != default:
        config = dataclasses.replace(config, dense_dim=bias.size)
    if embedding is None:
        return config
    width, multiplier = embedding.shape[1], network.settings.get("mapping_lrmul")
    options = {
        "layers": sum(bool(re.fullmatch(r"Mapping\d+/weight", name)) for name in network.variables),
        "dim": width,
        "embedding_dim": width,
        "hidden_dim": width,
        "lr_multiplier": 0.1 if multiplier is None else multiplier,
        "activation": config.activation,
    }
    mapping = from_mapping(LabelMappingConfig, options, path="discriminator.label_mapping")
    return dataclasses.replace(config, label_mapping=mapping)


def _is_ada_discriminator(network: OfficialNetwork) -> bool:
    return network.function.rpartition(".")[2] == "D_main"  # StyleGAN2's is D_stylegan2


def in_our_names(network: OfficialNetwork) -> OfficialNetwork:
    """Return the network with ADA's label layers under our names."""
    rules = [
        (r"G_mapping/LabelEmbed/", "G_mapping/LabelConcat/"),
        (r"LabelEmbed/", "LabelMapping/Embedding/"),
        (r"Mapping(\d+)/", r"LabelMapping/Dense\1/"),
    ]
    variables = network.variables
    for pattern, ours in rules:
        variables = {re.sub(f"^{pattern}", ours, name): array for name, array in variables.items()}
    return dataclasses.replace(network, variables=variables)
