"""Official checkpoints (TensorFlow 1 pickles) as our snapshots."""

from pathlib import Path

import numpy as np

from dnnlib.errors import UserError
from dnnlib.official_pickle import OfficialNetwork, read_networks
from gansformer.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from gansformer.official import discriminator_config, generator_config, image_settings
from gansformer.snapshot import Snapshot, assign_variables, make_networks


def load_official(path: Path) -> Snapshot:
    """Read a pickle of the official GANformer or of NVIDIA's StyleGAN2; nothing in it is executed.

    Raises UserError if it is of another kind, or a variable of it fits no variable of ours.
    """
    official = read_networks(path)
    any_generator = official.get("Gs") or official.get("G")
    config = ModelConfig(
        generator_config(_settings(any_generator)) if any_generator else GeneratorConfig(),
        discriminator_config(_settings(official["D"]))
        if "D" in official
        else DiscriminatorConfig(),
    )
    image = image_settings(next(iter(official.values())).settings)
    networks = make_networks(official, config, image)
    for name, network in networks.items():
        arrays = {f"{name}/{key}": value for key, value in official[name].variables.items()}
        assign_variables(network, _fitting(arrays), prefix=f"{name}/", source=str(path))
    details = {"source": path.name, "psi": official_psi(any_generator)}
    return Snapshot(config, kimg=_kimg(path), **networks, details=details)


def official_psi(network: OfficialNetwork | None) -> float | None:
    """Return the truncation that the official program would apply by default, if it is stored."""
    psi = network.settings.get("truncation_psi") if network else None
    return None if psi is None else float(psi)


def _settings(network: OfficialNetwork) -> dict:
    settings = dict(network.settings)
    for name in ("resolution", "num_channels", "fmap_base", "channel_base"):
        if isinstance(settings.get(name), (float, np.floating)):
            settings[name] = int(settings[name])
    return settings


def _fitting(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drop what NVIDIA's networks store besides variables of ours."""
    return {name: array for name, array in arrays.items() if not name.endswith("/lod")}


def _kimg(path: Path) -> float:
    """Return the digits after the last "-" of the file name, as in network-snapshot-010200.pkl."""
    digits = path.stem.rpartition("-")[2]
    return float(digits) if digits.isdigit() else 0.0


def check_is_generator(snapshot: Snapshot, source: str) -> None:
    """Raise UserError if a snapshot cannot make pictures."""
    if snapshot.Gs is None and snapshot.G is None:
        raise UserError(f"{source} holds no generator")
