"""Finding networks by path or name, and building new ones."""

import dataclasses
from pathlib import Path
from typing import Any

from dnnlib.config import from_mapping, read_yaml
from dnnlib.errors import MissingFile, UserError
from gansformer.catalogue import RATIOS, fetch_model, model_names
from gansformer.config import ModelConfig
from gansformer.configurations import find_config
from gansformer.discriminator import Discriminator
from gansformer.generator import Generator
from gansformer.official_checkpoint import load_official
from gansformer.snapshot import Snapshot, list_snapshots, load_snapshot, make_networks


def load(path: str | Path) -> Snapshot:
    """Load networks from a run directory (its newest snapshot), a snapshot directory, an official
    pickle (TensorFlow 1 or PyTorch), or by the name of a catalogued model.

    Raises UserError if there is nothing of the kind, or it is damaged.
    """
    place = Path(path)
    if place.is_file():
        return load_official(place)
    if (place / "config.json").is_file():
        return load_snapshot(place)
    if place.is_dir():
        snapshots = list(list_snapshots(place / "snapshots"))
        if not snapshots:
            raise UserError(f"{place} is neither a snapshot nor a run that has snapshots yet")
        return load_snapshot(snapshots[-1])
    if str(path) in model_names():
        return _load_known(str(path))
    raise MissingFile(
        f"model {path} does not exist: give a run, a snapshot, an official .pkl, or one of "
        + ", ".join(model_names())
    )


def _load_known(name: str) -> Snapshot:
    found = fetch_model(name)
    if not found.is_file():
        return load_snapshot(found)
    snapshot = load_official(found)
    details = {**snapshot.details, "ratio": RATIOS.get(name, 1.0)}
    return dataclasses.replace(snapshot, details=details)


def build(
    config: Any,
    resolution: int = 64,
    channels: int = 3,
    label_dim: int = 0,
    seed: int = 0,
) -> tuple[Generator, Discriminator]:
    """Build a new generator and discriminator.

    config: a ModelConfig (or anything with `generator` and `discriminator`), a mapping with these
    two keys, or a YAML file with them, given by path or by the name of one in configs/.
    """
    if isinstance(config, (str, Path)):
        config = read_yaml(find_config(config))
    if isinstance(config, dict):
        parts = {name: config[name] for name in ("generator", "discriminator") if name in config}
        config = from_mapping(ModelConfig, parts)
    image = {"resolution": resolution, "channels": channels, "label_dim": label_dim}
    networks = make_networks(("G", "D"), config, image, seed)
    return networks["G"], networks["D"]
