"""Reads the arrays of PyTorch files without PyTorch, and without executing anything in them.

Three forms: state dictionaries of old and of new `torch.save`, and TorchScript archives. Their
pickles are read by `dnnlib.plain_pickle`; what the names in them stand for is known here. Whole
networks, as StyleGAN2-ADA-PyTorch pickles them, are read by `dnnlib.torch_networks`.
"""

import enum
import io
import math
import mmap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.plain_pickle import UNTOUCHED, PickleReader, Refused, printable

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
        if zipfile.is_zipfile(path):
            root = read_zip(path, TensorReader)
        else:
            with open(path, "rb") as file, _mapped(file) as data:
                root = read_legacy(data)
        return {name: tensor.view().copy() for name, tensor in _flatten(root)}
    except OSError:
        raise
    except Refused as reason:
        untouched = "" if UNTOUCHED in str(reason) else f"; {UNTOUCHED}"
        raise UserError(f"{path}: {reason}{untouched}") from None
    except Exception as error:  # whatever a damaged pickle can cause
        raise UserError(
            f"{path}: not a PyTorch file, or a damaged one ({type(error).__name__}); fetch it again"
        ) from None


@dataclass
class Storage:
    """A run of numbers; `data` may become known only after the pickle has been read."""

    dtype: np.dtype
    count: int
    data: np.ndarray | None = None


@dataclass(frozen=True)
class Tensor:
    """A view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self) -> np.ndarray:
        """Return the numbers as a read-only view of the storage."""
        data = self.storage.data
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.stride, strict=True))
        negative = any(n < 0 for n in (self.offset, *self.size, *self.stride))
        if negative or (0 not in self.size and last >= len(data)):
            raise ValueError("a tensor reaches beyond its storage")
        if math.prod(self.size) > len(data):  # strides of 0 would make much of little
            raise ValueError("a tensor with more numbers than its storage")
        steps = [step * data.itemsize for step in self.stride]
        start = data[self.offset :]
        return np.lib.stride_tricks.as_strided(start, self.size, steps, writeable=False)


class _Module:
    """Stand-in for an object of a TorchScript archive: holds its state, runs nothing."""

    state: Any = None


class _Name(enum.Enum):
    """What a name in the file stands for."""

    DICTIONARY = enum.auto()
    LIST = enum.auto()
    TENSOR = enum.auto()
    PARAMETER = enum.auto()
    MODULE = enum.auto()


_NAMES: dict[tuple[str, str], _Name | np.dtype] = {
    ("collections", "OrderedDict"): _Name.DICTIONARY,
    ("torch._utils", "_rebuild_tensor_v2"): _Name.TENSOR,
    ("torch._utils", "_rebuild_tensor"): _Name.TENSOR,
    ("torch._utils", "_rebuild_parameter"): _Name.PARAMETER,
    **{
        ("torch.jit._pickle", f"build_{kind}list"): _Name.LIST
        for kind in ("int", "double", "bool", "tensor")
    },
    **{("torch", name): np.dtype(code) for name, code in _STORAGES.items()},
}


class TensorReader(PickleReader):
    """Knows the names of the table above, storages, and TorchScript's classes as modules."""

    format = "files of weights"
    dictionary = _Name.DICTIONARY

    def __init__(self, storage_of: Callable[[str, Storage], None]):
        super().__init__()
        self._storage_of = storage_of
        self._storages: dict[str, Storage] = {}

    def look_up(self, module: str, name: str) -> _Name | np.dtype:
        """Return what a name stands for."""
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module.split(".")[0] == "__torch__":
            return _Name.MODULE
        raise Refused(f"refers to {printable(f'{module}.{name}')}, which weights do not need")

    def make_object(self, kind: Any, arguments: Any) -> _Module:
        """NEWOBJ: an empty module."""
        if kind is _Name.MODULE and arguments == ():
            return _Module()
        return super().make_object(kind, arguments)

    def call(self, kind: Any, arguments: Any) -> Any:
        """REDUCE: a tensor, a list or a dictionary."""
        match kind:
            case _Name.TENSOR:
                return _make_tensor(*arguments)
            case _Name.PARAMETER:
                return arguments[0]
            case _Name.LIST if len(arguments) == 1 and type(arguments[0]) is list:
                return arguments[0]
            case _Name.DICTIONARY if arguments == ():
                return {}
            case _Name.DICTIONARY if len(arguments) == 1 and type(arguments[0]) is list:
                return {str(key): value for key, value in arguments[0]}
        return super().call(kind, arguments)

    def set_state(self, target: Any, state: Any) -> None:
        """BUILD: the content of a module; what a state dictionary knows of versions is left out."""
        if type(target) is _Module:
            target.state = state
        elif type(target) is not dict:
            super().set_state(target, state)

    def load_outside(self, identifier: Any) -> Storage:
        """BINPERSID: a storage, by its key."""
        kind, dtype, key, _location, count = identifier[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError("an unknown kind of storage")
        if len(identifier) > 5 and identifier[5] is not None:
            raise ValueError("a view of a storage")
        if key not in self._storages:
            self._storages[key] = Storage(dtype, int(count))
            self._storage_of(key, self._storages[key])
        return self._storages[key]


def _make_tensor(storage: Any, offset: int, size: tuple, stride: tuple, *_flags: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without storage")
    return Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def read_zip(path: Path, kind: type[TensorReader]) -> Any:
    """Return the content of a file of today's torch.save, of which `kind` knows the names."""
    with zipfile.ZipFile(path) as archive:
        (pickled,) = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        root = pickled.split("/")[0]

        def load_storage(key: str, storage: Storage) -> None:
            info = archive.getinfo(f"{root}/data/{key}")
            if info.file_size != storage.count * storage.dtype.itemsize:
                raise ValueError("a storage of another size")
            storage.data = np.frombuffer(archive.read(info), storage.dtype)

        if archive.getinfo(pickled).file_size > _MAX_PICKLE_BYTES:
            raise Refused("has an absurdly large table of contents")
        return kind(load_storage).read(archive.read(pickled))


def read_legacy(file: mmap.mmap | io.BytesIO, kind: type[TensorReader] | None = None) -> Any:
    """Return the content of a file of old torch.save, of which `kind` knows the names.

    magic, protocol, system, content, list of storages, then each storage with its length.
    """
    storages: dict[str, Storage] = {}
    kind = kind or TensorReader

    def load() -> Any:
        return kind(storages.__setitem__).read(file)

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


def _mapped(file: IO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _flatten(value: Any, name: str = ""):
    """Yield (dotted name, tensor) of all tensors in dictionaries and modules."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Module):
        yield from _flatten(value.state, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
