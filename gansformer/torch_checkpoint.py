"""PyTorch checkpoints of StyleGAN2-ADA-PyTorch and of the PyTorch GANformer as our snapshots."""

from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.torch_networks import TorchCheckpoint, TorchNetwork, read_torch_networks
from gansformer.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from gansformer.fit import Fit, assign_fitting, kimg_of
from gansformer.snapshot import Snapshot, make_networks
from gansformer.torch_settings import (
    is_ganformer,
    torch_discriminator_config,
    torch_generator_config,
    torch_image_settings,
)
from gansformer.torch_variables import discriminator_variables, generator_variables


def fit_torch(
    path: Path, *, normalize_jointly: bool | None = None
) -> tuple[Snapshot, dict[str, Fit]]:
    """Read a checkpoint as far as it goes: networks, and how well each of them fits.

    normalize_jointly: whether components are divided by one root mean square of them all, as the
      PyTorch GANformer does, or each by its own, as in TensorFlow. None: jointly, unless the
      authors converted the network from TensorFlow, where it was trained with the latter.
    """
    checkpoint = read_torch_networks(path)
    networks = {
        "Gs" if name == "G_ema" else name: network for name, network in checkpoint.networks.items()
    }
    generator = networks.get("Gs") or networks.get("G")
    is_converted = generator is not None and _was_converted(generator, checkpoint)
    if normalize_jointly is None:
        normalize_jointly = not is_converted
    try:
        config = ModelConfig(
            torch_generator_config(generator, normalize_jointly=normalize_jointly)
            if generator
            else GeneratorConfig(),
            torch_discriminator_config(networks["D"]) if "D" in networks else DiscriminatorConfig(),
        )
        ours, fits = {}, {}
        for name, network in networks.items():
            variables = (
                discriminator_variables(network)
                if name == "D"
                else generator_variables(network, config.generator)
            )
            _check_sizes(network, config.discriminator if name == "D" else config.generator)
            ours |= make_networks([name], config, torch_image_settings(network))
            fits[name] = assign_fitting(ours[name], variables)
    except (ValueError, TypeError) as error:  # of settings that no network of ours can have
        raise UserError(f"{path}: {error}") from None
    details = {"source": path.name, "psi": None, "ratio": _ratio(checkpoint.rest)}
    if is_converted:
        details["converted_from"] = "TensorFlow"
    return Snapshot(config, kimg=kimg_of(path), **ours, details=details), fits


def _check_sizes(network: TorchNetwork, config: GeneratorConfig | DiscriminatorConfig) -> None:
    """Raise UserError if the settings want a far larger network than the file holds.

    What is wrong in detail is found when variables are assigned: by then, all memory may be gone.
    """
    stored = sum(tensor.size for tensor in network.tensors.values())
    sizes = [min(config.channel_base, config.channel_max)]
    if isinstance(config, GeneratorConfig):
        sizes += [config.latent_size, config.component_dim, config.mapping.layers]
    elif config.label_mapping:
        sizes += [config.label_mapping.dim, config.label_mapping.layers]
    if max(sizes) > stored:
        raise UserError("the network's settings want a far larger network than the file holds")


def _was_converted(generator: TorchNetwork, checkpoint: TorchCheckpoint) -> bool:
    """Whether the authors' converter wrote this GANformer.

    It stores no data set, and a global latent that is not normalised.
    """
    mapping = generator.settings.get("mapping_kwargs")
    return (
        is_ganformer(generator)
        and type(mapping) is dict
        and mapping.get("normalize_global") is False
        and "dataset_args" not in checkpoint.rest
    )


def _ratio(rest: dict[str, Any]) -> float:
    """Return height / width of the useful part of the images, where the file says it."""
    data = rest.get("dataset_args")
    ratio = data.get("ratio") if type(data) is dict else None
    return float(ratio) if type(ratio) in (int, float) and 0 < ratio <= 1 else 1.0
