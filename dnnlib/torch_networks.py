"""Reads networks pickled by StyleGAN2-ADA-PyTorch and its relatives, without executing anything.

Such a file is a dictionary with networks in it. Each is stored as a call of
`torch_utils.persistence._reconstruct_persistent_obj` with the text of its program, which the
original executes, the name of its class and its attributes. Here the text is never looked at.
Tensors lie in the pickle as files of old `torch.save`, or, in today's zip format, beside it.
"""

import enum
import io
import mmap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.plain_pickle import UNTOUCHED, Refused, printable
from dnnlib.torch_files import Tensor, TensorReader, read_legacy, read_zip

_MAX_DEPTH = 64  # of modules within modules
_MAX_PARTS = 100_000  # modules and tensors of one network


@dataclass(frozen=True)
class TorchNetwork:
    """One network of a file.

    kind: name of its class ("Generator"). settings: the keyword arguments that made it; those
    left at their defaults are absent. tensors: "synthesis.b4.const" -> array (read-only), of
    parameters and buffers. attributes: "synthesis.b4.conv1" -> that module's plain attributes.
    """

    kind: str
    settings: dict[str, Any]
    tensors: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class TorchCheckpoint:
    """What a file holds: networks under their names in it, and the rest, of which nothing is known.

    The rest says how the networks were trained ("training_set_kwargs", "dataset_args").
    """

    networks: dict[str, TorchNetwork]
    rest: dict[str, Any]


def read_torch_networks(path: Path) -> TorchCheckpoint:
    """Return the networks of a pickle of StyleGAN2-ADA-PyTorch or of the PyTorch GANformer.

    Raises UserError if there are none, or the file is damaged or refers to anything unexpected.
    """
    try:
        content = _read(path)
        if type(content) is not dict:
            raise Refused("holds no networks; a dictionary with G, D and G_ema or Gs is needed")
        networks = {
            name: _to_network(value)
            for name, value in content.items()
            if type(value) is _Module and name in ("G", "D", "G_ema", "Gs")
        }
        if not networks:
            raise Refused(
                "is a PyTorch file without networks (a dictionary of weights?); one is needed that "
                "pickles whole networks, such as network-snapshot-*.pkl of StyleGAN2-ADA-PyTorch"
            )
        rest = {key: value for key, value in content.items() if key not in networks}
        return TorchCheckpoint(networks, rest)
    except Refused as reason:
        untouched = "" if UNTOUCHED in str(reason) else f"; {UNTOUCHED}"
        raise UserError(f"{path}: {reason}{untouched}") from None
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file can cause
        raise UserError(
            f"{path}: a damaged PyTorch file ({type(error).__name__}); fetch it again; {UNTOUCHED}"
        ) from None


def _read(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        return read_zip(path, _NetworkReader)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:20].startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):  # old torch.save
            return read_legacy(data, _NetworkReader)
        return _NetworkReader(_no_storage).read(data)


class _Module:
    """Stand-in for a network or a part of one: holds its class's name and its state."""

    def __init__(self, kind: str, state: Any):
        self.kind, self.state = kind, state


class _Name(enum.Enum):
    """What a name in the file stands for, beside those of files of tensors."""

    NETWORK = enum.auto()
    STORAGE_FROM_BYTES = enum.auto()
    SCALAR = enum.auto()
    DTYPE = enum.auto()
    SET = enum.auto()
    DROPOUT = enum.auto()


_NAMES = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Name.NETWORK,
    ("torch.storage", "_load_from_bytes"): _Name.STORAGE_FROM_BYTES,
    ("numpy.core.multiarray", "scalar"): _Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): _Name.SCALAR,
    ("numpy", "dtype"): _Name.DTYPE,
    ("builtins", "set"): _Name.SET,
    ("__builtin__", "set"): _Name.SET,
    ("torch.nn.modules.dropout", "Dropout"): _Name.DROPOUT,
}


class _NetworkReader(TensorReader):
    """Knows the names of the table above; what is inert in the original stays so."""

    format = "networks"

    def look_up(self, module: str, name: str) -> Any:
        """Return what a name stands for."""
        if (module, name) == ("dnnlib.util", "EasyDict"):
            module, name = "collections", "OrderedDict"
        return _NAMES.get((module, name)) or super().look_up(module, name)

    def carry_out(self, operation: str, argument: Any) -> None:
        """Carry out one operation; sets, of which nothing is needed, are lists here."""
        match operation:
            case "EMPTY_SET":
                self.stack.append([])
            case "ADDITEMS":
                super().carry_out("APPENDS", argument)
            case _:
                super().carry_out(operation, argument)

    def make_object(self, kind: Any, arguments: Any) -> Any:
        """NEWOBJ: a dictionary, or the dropout of an attention layer."""
        if arguments == () and kind is _Name.DROPOUT:
            return _Module("Dropout", None)
        if arguments == () and kind is self.dictionary:
            return {}
        return super().make_object(kind, arguments)

    def call(self, kind: Any, arguments: Any) -> Any:
        """REDUCE: a network, a storage, a number or a set."""
        match kind:
            case _Name.NETWORK if len(arguments) == 1 and type(arguments[0]) is dict:
                return _make_module(arguments[0])
            case _Name.STORAGE_FROM_BYTES if len(arguments) == 1 and type(arguments[0]) is bytes:
                return read_legacy(io.BytesIO(arguments[0]))
            case _Name.DTYPE if arguments and type(arguments[0]) is str:
                return _Dtype(arguments[0])
            case _Name.SCALAR if len(arguments) == 2 and type(arguments[0]) is _Dtype:
                return arguments[0].read(arguments[1])
            case _Name.SET if len(arguments) == 1 and type(arguments[0]) is list:
                return arguments[0]
        return super().call(kind, arguments)

    def set_state(self, target: Any, state: Any) -> None:
        """BUILD: of a dropout layer, which has no tensors, and of a type of numbers."""
        if type(target) is _Module and target.kind == "Dropout":
            return
        if type(target) is _Dtype and type(state) is tuple:
            return
        super().set_state(target, state)


@dataclass(frozen=True)
class _Dtype:
    """Stand-in for the type of a single NumPy number."""

    code: str

    def read(self, content: Any) -> float | int | bool:
        if self.code not in ("f8", "f4", "i8", "i4", "b1") or type(content) is not bytes:
            raise ValueError("a number of an unknown type")
        (number,) = np.frombuffer(content, f"<{self.code}")
        return number.item()


def _make_module(meta: dict) -> _Module:
    kind, state = meta.get("class_name"), meta.get("state")
    if meta.get("type") != "class" or type(kind) is not str or type(state) is not dict:
        raise Refused("stores a network in a way that is not known; a too new program?")
    return _Module(kind, state)


def _no_storage(key: str, storage: Any) -> None:
    raise ValueError("a storage that the file does not hold")


def _to_network(module: _Module) -> TorchNetwork:
    settings = module.state.get("_init_kwargs")
    if type(settings) is not dict:
        raise Refused(f"holds a network ({printable(module.kind)}) without its settings")
    tensors, attributes = {}, {}
    for name, part in _walk(module, "", 0):
        if len(attributes) + len(tensors) > _MAX_PARTS:
            raise Refused("holds far more than a network has")
        attributes[name] = {
            key: value
            for key, value in part.state.items()
            if type(value) in (str, int, float, bool, type(None))
        }
        for kind in ("_parameters", "_buffers"):
            for key, value in _dictionary(part, kind).items():
                if isinstance(value, Tensor):
                    tensors[_join(name, key)] = value.view()
                elif value is not None:
                    raise ValueError("a parameter that is no tensor")
    return TorchNetwork(module.kind, settings, tensors, attributes)


def _walk(module: _Module, name: str, depth: int) -> Iterator[tuple[str, _Module]]:
    """Yield (dotted name, module) of a network and of all its parts."""
    if depth > _MAX_DEPTH:
        raise Refused("holds modules nested deeper than any network")
    yield name, module
    for key, part in _dictionary(module, "_modules").items():
        if type(part) is not _Module:
            raise ValueError("a part of a network that is no module")
        if part.state is not None:
            yield from _walk(part, _join(name, key), depth + 1)


def _dictionary(module: _Module, kind: str) -> dict:
    value = module.state.get(kind)
    if type(value) is not dict:
        raise ValueError(f"a module without {kind}")
    return value


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)
