"""Reads official TensorFlow-1 checkpoints (StyleGAN2, StyleGAN2-ADA, GANformer) as plain data.

An official checkpoint is a pickle of `dnnlib.tflib.network.Network` objects, which the official
program restores by executing Python source text that the pickle carries. Here `plain_pickle` reads
it and executes nothing; this module knows how the networks lie in it.
"""

import mmap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import MissingFile, UserError
from dnnlib.plain_pickle import TORCH, RawArray, RawNetwork, Refused, printable, read_plain_pickle

_KEYS = ("G", "D", "Gs")
# Names of the component networks as every official program gives them.
_COMPONENT_NAMES = {"mapping": "G_mapping", "synthesis": "G_synthesis"}

# Limits far beyond any official file (about 500 variables in each network).
_MAX_VARIABLES = 100_000
_MAX_SETTINGS = 100_000
_MAX_SETTING_DEPTH = 16


class TorchFile(UserError):
    """The file was written by PyTorch; `dnnlib.torch_networks` may read it."""


@dataclass(frozen=True)
class OfficialNetwork:
    """One network of an official checkpoint.

    name: the network's own name ("G", "D", "Gs").
    function: the official build function, which tells the kind of network; as stored.
    settings: its keyword arguments (static_kwargs) as plain Python values; names as stored.
    variables: full name -> array (read-only). Variables of component networks have the prefix
        "G_mapping/" or "G_synthesis/". Own variables come first, then the components' as stored.
    """

    name: str
    function: str
    settings: dict[str, Any]
    variables: dict[str, np.ndarray]


def read_networks(path: str | Path) -> dict[str, OfficialNetwork]:
    """Return the networks of an official TensorFlow-1 pickle under the keys "G", "D" and "Gs".

    The file holds the tuple (G, D, Gs) or a single network; networks it lacks are absent. Raises
    `UserError` for anything else. Nothing from the file is executed.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFile(f"{path}: no such file; check the path")
    if not path.is_file():
        raise UserError(f"{path}: not a file; an official .pkl is needed")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; fetch it again")
    _refuse_other_formats(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _name_networks(read_plain_pickle(data))
    except Refused as reason:
        raise _error(path, str(reason)) from None


def _error(path: Path, reason: str) -> UserError:
    return (TorchFile if reason == TORCH else UserError)(f"{path}: {reason}")


_SIGNATURES = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": TORCH,  # magic number of old torch.save files
    b"\x89HDF\r\n\x1a\n": "this is an HDF5 file (Keras?), not an official TensorFlow-1 pickle",
    b"\x1f\x8b": "this is a gzip file; unpack it and give the .pkl inside",
    b"version https://git-lfs": "this is a git-LFS pointer, not the file itself; run: git lfs pull",
    b"\x93NUMPY": "this is a NumPy array, not an official TensorFlow-1 pickle",
}


def _refuse_other_formats(path: Path) -> None:
    """Raise a `UserError` that names the format of a file that is not a pickle."""
    with open(path, "rb") as file:
        head = file.read(64)
    for signature, message in _SIGNATURES.items():
        if head.startswith(signature):
            raise _error(path, message)
    if head.startswith(b"PK\x03\x04"):
        raise _error(path, _describe_zip(path))
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(
            f"{path}: this is a web page, not a checkpoint (a quota or login page saved in its "
            "place?); fetch the file again"
        )
    if head[0] != 0x80:
        raise UserError(f"{path}: not a binary pickle; an official TensorFlow-1 .pkl is needed")


def _describe_zip(path: Path) -> str:
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return "this is a damaged zip archive, not an official TensorFlow-1 pickle"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return TORCH
    return "this is a zip archive (npz?), not an official TensorFlow-1 pickle"


def _name_networks(content: Any) -> dict[str, OfficialNetwork]:
    """Find the networks in the file's content: (G, D, Gs) or one network."""
    if type(content) is RawNetwork:
        network = _to_network(content)
        return {_single_key(network): network}
    if type(content) in (tuple, list) and len(content) == len(_KEYS):
        present = {key: item for key, item in zip(_KEYS, content, strict=True) if item is not None}
        if present and all(type(item) is RawNetwork for item in present.values()):
            return {key: _to_network(item) for key, item in present.items()}
    raise Refused(
        "holds no networks; an official checkpoint is the tuple (G, D, Gs) or a single network"
    )


def _single_key(network: OfficialNetwork) -> str:
    if network.name in _KEYS:
        return network.name
    function = network.function.rpartition(".")[2]
    for key, beginnings in {"G": ("G_", "Generator"), "D": ("D_", "Discriminator")}.items():
        if function.startswith(beginnings):
            return key
    raise Refused(
        f"holds the network {printable(network.name)} ({printable(network.function)}), which is "
        "neither a generator nor a discriminator"
    )


def _to_network(raw: RawNetwork) -> OfficialNetwork:
    state = _check_state(raw)
    return OfficialNetwork(
        name=state["name"],
        function=state["build_func_name"],
        settings=_PlainSettings().convert(state["static_kwargs"]),
        variables=dict(_full_variables(raw)),
    )


_STATE_TYPES = {"name": str, "build_func_name": str, "static_kwargs": dict, "variables": list}


def _check_state(raw: RawNetwork) -> dict:
    """Return a network's state after checking the entries that are used (never the source text)."""
    state = raw.state
    if state is None:
        raise Refused("holds a network without content")
    for key, kind in _STATE_TYPES.items():
        if type(state.get(key)) is not kind:
            raise Refused(f'holds a network without "{key}"; a too old or a foreign format')
    return state


def _full_variables(raw: RawNetwork) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (full name, array): the network's own variables, then those of its components."""
    lists = [("", _check_state(raw)["variables"])]
    components = raw.state.get("components", {})
    if type(components) is not dict:
        raise Refused("holds a network whose components are no dictionary")
    for key, component in components.items():
        if type(component) is not RawNetwork:
            raise Refused("holds a component that is no network")
        state = _check_state(component)
        nested = state.get("components", {})
        if type(nested) is not dict or len(nested) > 0:
            raise Refused("holds components within components, which no official network has")
        lists.append((f"{_COMPONENT_NAMES.get(key, state['name'])}/", state["variables"]))
    if sum(len(variables) for _, variables in lists) > _MAX_VARIABLES:
        raise Refused("holds far more variables than an official network has")
    seen = set()
    for prefix, variables in lists:
        for name, value in _check_variables(variables):
            if prefix + name in seen:
                raise Refused(f"holds the variable {printable(prefix + name)} twice")
            seen.add(prefix + name)
            yield prefix + name, value


def _check_variables(variables: list) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (local name, array) from one network's list of variables, checked."""
    for entry in variables:
        if type(entry) not in (tuple, list) or len(entry) != 2 or type(entry[0]) is not str:
            raise Refused("holds a variable that is not a pair of name and array")
        name, value = entry
        value = value.value if type(value) is RawArray else value
        if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "biuf":
            raise Refused(f"holds the variable {printable(name)} without numbers")
        yield name, np.asarray(value)


class _PlainSettings:
    """Turns settings into plain Python values, within limits of size and depth."""

    def __init__(self):
        self._left = _MAX_SETTINGS

    def convert(self, value: Any, depth: int = 0) -> Any:
        """Return `value` with NumPy numbers and arrays as Python numbers and lists."""
        value = value.value if type(value) is RawArray else value
        self._left -= value.size if isinstance(value, np.ndarray) else 1
        if self._left < 0 or depth > _MAX_SETTING_DEPTH:
            raise Refused("has settings far larger than an official network's")
        if type(value) in (str, bytes, int, float, bool, type(None)):
            return value
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if type(value) in (tuple, list):
            return type(value)(self.convert(item, depth + 1) for item in value)
        if type(value) is dict:
            return {key: self.convert(item, depth + 1) for key, item in value.items()}
        raise Refused("has a setting that is not plain data")
