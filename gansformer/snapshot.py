"""Saving networks and loading them again, from our snapshots or from official checkpoints.

A snapshot is a directory with `config.json` (all that is needed to build the networks) and
`weights.npz` (every variable under its official name, prefixed with G/, D/ or Gs/), and
`averages.npz` (the average of w of each component, [K, w_dim], of Gs, for truncation; of a
conditional G as well, which has no other way to them).
"""

import dataclasses
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib.config import from_mapping, to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_directory
from gansformer.config import ModelConfig
from gansformer.discriminator import Discriminator
from gansformer.generator import Generator
from gansformer.projected_discriminator import ProjectedDiscriminator, make_discriminator
from gansformer.summary import count_parameters
from gansformer.truncation import average_components
from gansformer.variables import variables_by_name

FORMAT = 1


@dataclasses.dataclass(frozen=True, repr=False)
class Snapshot:
    """Networks and what is known about them. Gs is the moving average of G; None: not stored.

    details: what else is useful to sample and evaluate: label names, ratio, the run's description;
    "source" for the official file that it was converted from.
    """

    config: ModelConfig
    kimg: float
    G: Generator | None = None
    D: Discriminator | ProjectedDiscriminator | None = None
    Gs: Generator | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def describe(self) -> dict[str, str]:
        """Return what it is, by name: trained for how long, on what, networks and their sizes."""
        generator = self.config.generator
        networks = {name: getattr(self, name) for name in ("G", "D", "Gs")}
        networks = {name: network for name, network in networks.items() if network is not None}
        height, width, channels = next(iter(networks.values())).image_shape
        kind = generator.attention if generator.has_attention else "none (one latent)"
        facts = {"trained": f"{self.kimg:g} kimg", "images": f"{height}x{width}x{channels}"}
        facts["attention"] = kind
        if generator.has_attention:
            facts["components"] = f"{generator.components} of {generator.component_dim}, 1 global"
        for name, network in networks.items():
            facts[name] = f"{count_parameters(network):,} parameters"
        for name in ("data", "source", "label_names"):
            if self.details.get(name):
                facts[name.replace("_", " ")] = str(self.details[name])
        return facts

    def __repr__(self) -> str:
        facts = self.describe()
        width = max(map(len, facts))
        return "\n".join(["Snapshot", *(f"  {k:{width}}  {v}" for k, v in facts.items())])

    def _repr_html_(self) -> str:
        """Return a table, for notebooks."""
        rows = (
            f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>"
            for k, v in self.describe().items()
        )
        return f"<table>{''.join(rows)}</table>"


def name_by_images(shown: int) -> str:
    """Return the name of what a run writes after so many images: 000100, at 100.5 kimg 000100.500.

    Sorted as text, the names are in the order of the images.
    """
    kimg, rest = divmod(shown, 1000)
    return f"{kimg:06d}.{rest:03d}" if rest else f"{kimg:06d}"


def list_snapshots(directory: Path) -> dict[Path, int]:
    """Return the snapshots in the folder of a run, oldest first, and the images that each has seen.

    Those with other names, such as `best`, are left out.
    """
    found = {}
    for path in sorted(directory.glob("*")):
        if match := re.fullmatch(r"(\d{6,})(?:\.(\d{3}))?", path.name, re.ASCII):
            found[path] = 1000 * int(match[1]) + int(match[2] or 0)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def save_snapshot(snapshot: Snapshot, directory: Path, *, half: bool = False) -> None:
    """Write a snapshot directory, atomically. half: store float16, for shipping."""
    networks = {name: getattr(snapshot, name) for name in ("G", "D", "Gs")}
    networks = {name: network for name, network in networks.items() if network is not None}
    arrays = {
        f"{name}/{variable_name}": variable.numpy()
        for name, network in networks.items()
        for variable_name, variable in variables_by_name(network).items()
    }
    if half:
        arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
    any_network = next(iter(networks.values()))
    description = {
        "format": FORMAT,
        "kimg": snapshot.kimg,
        "networks": list(networks),
        "resolution": any_network.canvas.resolution,
        "channels": any_network.channels,
        "label_dim": any_network.label_dim,
        **to_mapping(snapshot.config),
        "details": snapshot.details,
    }
    with atomic_directory(directory) as temporary:
        (temporary / "config.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
        np.savez_compressed(temporary / "weights.npz", **arrays)
        np.savez(temporary / "averages.npz", **_component_averages(networks))


def load_snapshot(directory: Path) -> Snapshot:
    """Read a snapshot directory. Raises UserError if something in it is missing or damaged."""
    description = _read_description(directory / "config.json")
    if description.pop("format") > FORMAT:
        raise UserError(f"{directory} was written by a newer version; update this program")
    details, kimg = description.pop("details", {}), description.pop("kimg")
    names = description.pop("networks")
    image = {key: description.pop(key) for key in ("resolution", "channels", "label_dim")}
    config = from_mapping(ModelConfig, description)
    networks = make_networks(names, config, image)
    arrays = _read_arrays(directory / "weights.npz")
    for name, network in networks.items():
        assign_variables(network, arrays, prefix=f"{name}/", source=str(directory))
    _set_truncation(networks, details, directory / "averages.npz")
    return Snapshot(config, kimg, **networks, details=details)


def _component_averages(networks: dict[str, tf.Module]) -> dict[str, np.ndarray]:
    """Return those of all generators whose averages are known, and of Gs if it is unconditional.

    What is not stored is computed when it is needed.
    """
    generators = {name: networks[name] for name in ("G", "Gs") if name in networks}
    averages = {name: generator.component_averages for name, generator in generators.items()}
    if "Gs" in averages and averages["Gs"] is None and not networks["Gs"].label_dim:
        averages["Gs"] = average_components(networks["Gs"])
    return {name: average for name, average in averages.items() if average is not None}


def _set_truncation(networks: dict[str, tf.Module], details: dict[str, Any], path: Path) -> None:
    """Give generators their averages, where a snapshot has them, and the kind of truncation.

    A converted official file ("source" in its details) keeps the official one.
    """
    averages = _read_arrays(path) if path.exists() else {}
    for name, network in networks.items():
        if isinstance(network, Generator):
            network.component_averages = averages.get(name)
            is_official = "source" in details or (network.label_dim and name not in averages)
            network.truncation = "official" if is_official else "component"


def make_networks(
    names: Iterable[str], config: ModelConfig, image: dict[str, int], seed: int = 0
) -> dict[str, tf.Module]:
    """Build the networks with these names (G, D, Gs); image: resolution, channels, label_dim."""
    return {
        name: make_discriminator(config.discriminator, seed=seed, **image)
        if name == "D"
        else Generator(config.generator, seed=seed, **image)
        for name in names
    }


def assign_variables(
    network: tf.Module, arrays: dict[str, np.ndarray], *, prefix: str, source: str
) -> None:
    """Give a network the variables stored under `prefix`.

    Raises UserError, naming the first variable that is missing, left over or of another shape.
    """
    variables = variables_by_name(network)
    stored = {name[len(prefix) :] for name in arrays if name.startswith(prefix)}
    for name in sorted(stored ^ set(variables)):
        problem = "is missing" if name in variables else "belongs to no part of this network"
        raise UserError(f"{source}: variable {prefix}{name} {problem}; it is of another network")
    for name, variable in variables.items():
        array = arrays[prefix + name]
        if tuple(array.shape) != tuple(variable.shape):
            raise UserError(
                f"{source}: variable {prefix}{name} has shape {list(array.shape)}, "
                f"but this configuration needs {list(variable.shape)}; use the configuration "
                "that it was trained with"
            )
        variable.assign(array.astype(np.float32))


def _read_description(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is not a snapshot: it has no config.json") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged; use another snapshot") from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is not a snapshot: it has no {path.name}") from error
    except Exception as error:  # zipfile, zlib and NumPy each have their own errors
        raise UserError(f"{path} is damaged ({error}); use another snapshot") from error
