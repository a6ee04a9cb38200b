"""Reads the arrays of PyTorch files without PyTorch, and without executing anything in them.

Three forms: state dictionaries of old and of new `torch.save`, and TorchScript archives. Their
pickles are read by Python's own unpickler, which here finds no name outside a short table; what
the names stand for are records without effect.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_PICKLE_BYTES = 64 * 2**20
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Return all tensors of a state dictionary or TorchScript module by dotted name, in file order.

    Raises UserError if the file is damaged, of another form, or refers to anything unexpected.
    """
    path = Path(path)
    try:
        root = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        return {name: tensor.resolve() for name, tensor in _flatten(root)}
    except OSError:
        raise
    except _Refused as reason:
        raise UserError(f"{path}: {reason}; nothing from the file was executed") from None
    except Exception as error:  # whatever a damaged pickle can cause
        raise UserError(
            f"{path}: not a PyTorch file, or a damaged one ({type(error).__name__}); fetch it again"
        ) from None


class _Refused(Exception):
    """The file holds what no file of weights needs; the message says what."""


@dataclass
class _Storage:
    """A run of numbers; `data` may become known only after the pickle has been read."""

    dtype: np.dtype
    count: int
    data: np.ndarray | None = None


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def resolve(self) -> np.ndarray:
        """Return the numbers as an array of its own."""
        data = self.storage.data
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        negative = any(n < 0 for n in (self.offset, *self.size, *self.stride))
        if negative or (0 not in self.size and last >= len(data)):
            raise ValueError("a tensor reaches beyond its storage")
        steps = [step * data.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.size, steps).copy()


class _Module:
    """Stand-in for a class of a TorchScript archive: takes its state, runs nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _rebuild_tensor(storage, offset, size, stride, *_flags) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without storage")
    return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


_NAMES: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_flags: tensor,
    **{
        ("torch.jit._pickle", f"build_{kind}list"): list
        for kind in ("int", "double", "bool", "tensor")
    },
}


class _Unpickler(pickle._Unpickler):  # the Python one: it reserves no memory for what is not there
    """Knows the names of the table above, storages, and TorchScript classes as `_Module`."""

    def __init__(self, file, storage_of: Callable[[str, _Storage], None]):
        super().__init__(file, encoding="utf-8")
        self._storage_of = storage_of
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module == "torch" and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        if module.split(".")[0] == "__torch__":
            return _Module
        printable = ascii(f"{module}.{name}")[1:-1][:100]
        raise _Refused(f"refers to {printable}, which weights do not need")

    def persistent_load(self, identifier: Any) -> _Storage:
        kind, dtype, key, _location, count = identifier[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError("an unknown kind of storage")
        if len(identifier) > 5 and identifier[5] is not None:
            raise ValueError("a view of a storage")
        if key not in self._storages:
            self._storages[key] = _Storage(dtype, int(count))
            self._storage_of(key, self._storages[key])
        return self._storages[key]


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        (pickled,) = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        root = pickled.split("/")[0]

        def load_storage(key: str, storage: _Storage) -> None:
            info = archive.getinfo(f"{root}/data/{key}")
            if info.file_size != storage.count * storage.dtype.itemsize:
                raise ValueError("a storage of another size")
            storage.data = np.frombuffer(archive.read(info), storage.dtype)

        if archive.getinfo(pickled).file_size > _MAX_PICKLE_BYTES:
            raise _Refused("has an absurdly large table of contents")
        return _Unpickler(io.BytesIO(archive.read(pickled)), load_storage).load()


def _read_legacy(path: Path) -> Any:
    """magic, protocol, system, content, list of storages, then each storage with its length."""
    storages: dict[str, _Storage] = {}
    with open(path, "rb") as file:

        def load() -> Any:
            return _Unpickler(file, storages.__setitem__).load()

        if load() != _LEGACY_MAGIC:
            raise ValueError("another magic number")
        load(), load()  # protocol, system
        root = load()
        for key in load():
            storage = storages[key]
            if int.from_bytes(file.read(8), "little") != storage.count:
                raise ValueError("a storage of another size")
            content = file.read(storage.count * storage.dtype.itemsize)
            storage.data = np.frombuffer(content, storage.dtype, storage.count)
    return root


def _flatten(value: Any, name: str = ""):
    """Yield (dotted name, tensor) of all tensors in dictionaries and modules."""
    if isinstance(value, _Tensor):
        yield name, value
    elif isinstance(value, _Module):
        yield from _flatten(value.state, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
