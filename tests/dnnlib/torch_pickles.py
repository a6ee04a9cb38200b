"""Writes pickles as PyTorch's programs do, without PyTorch, for the reader's tests."""

import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

MAGIC = 0x1950A86A20F9469CFC6C


class FloatStorage:
    """Stands for the class that a storage names."""


class Tensor:
    """A float32 tensor whose strides are those of `array`."""

    def __init__(self, array: np.ndarray):
        self.array = array
        base = array if array.base is None else array.base
        self.storage = Storage(np.ascontiguousarray(base).reshape(-1))


class Storage:
    """The numbers of a tensor."""

    def __init__(self, numbers: np.ndarray):
        self.numbers = numbers.astype("<f4")


class Module:
    """A network: class name, arguments, tensors and parts."""

    def __init__(self, kind="Generator", tensors=None, parts=None, **settings):
        self.kind = kind
        self.state = {
            "training": False,
            "_parameters": {name: Tensor(value) for name, value in (tensors or {}).items()},
            "_buffers": {},
            "_modules": parts or {},
            "_init_args": (),
            "_init_kwargs": settings,
        }


FUNCTIONS = {
    "torch_utils.persistence": "_reconstruct_persistent_obj",
    "torch._utils": "_rebuild_tensor_v2",
    "torch.storage": "_load_from_bytes",
}


@pytest.fixture
def torch_modules(monkeypatch):
    """Make the names of PyTorch's functions importable, so that `pickle` can write them."""
    for name in ("torch", "torch_utils", *FUNCTIONS):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for module, name in FUNCTIONS.items():
        function = types.FunctionType((lambda *arguments: None).__code__, {}, name)
        function.__module__, function.__qualname__ = module, name
        setattr(sys.modules[module], name, function)
    FloatStorage.__module__ = "torch"
    sys.modules["torch"].FloatStorage = FloatStorage


class _Pickler(pickle.Pickler):
    """Writes modules and tensors; `storages` collects what is written outside, or is None."""

    def __init__(self, file, protocol: int, storages: dict | None):
        super().__init__(file, protocol)
        self.storages = storages

    def persistent_id(self, value):
        if not isinstance(value, Storage) or self.storages is None:
            return None
        key = str(len(self.storages))
        self.storages[key] = value.numbers
        return ("storage", FloatStorage, key, "cpu", value.numbers.size)

    def reducer_override(self, value):
        if isinstance(value, Module):
            source = "raise SystemExit('source text was executed')"
            meta = {"type": "class", "version": 6, "module_src": source}
            meta |= {"class_name": value.kind, "state": value.state}
            return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)
        if isinstance(value, Tensor):
            array = value.array
            strides = tuple(step // 4 for step in array.strides)
            arguments = (value.storage, 0, array.shape, strides, False, {})
            return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments
        if isinstance(value, Storage):
            return sys.modules["torch.storage"]._load_from_bytes, (storage_bytes(value.numbers),)
        return NotImplemented


def storage_bytes(numbers: np.ndarray) -> bytes:
    """Return a storage as a file of old torch.save."""
    file = io.BytesIO()
    for value in (MAGIC, 1001, {"little_endian": True}):
        pickle.dump(value, file, 2)
    storages = {}
    _Pickler(file, 2, storages).dump(Storage(numbers))
    pickle.dump(list(storages), file, 2)
    file.write(numbers.size.to_bytes(8, "little") + numbers.astype("<f4").tobytes())
    return file.getvalue()


def plain_pickle(content, protocol: int = 4) -> bytes:
    """Return content as pickle.dump writes it: storages within."""
    file = io.BytesIO()
    _Pickler(file, protocol, None).dump(content)
    return file.getvalue()


def zip_file(path, content, *, pickled: bytes | None = None) -> None:
    """Write content as today's torch.save does: storages beside the pickle."""
    storages = {}
    file = io.BytesIO()
    _Pickler(file, 2, storages).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", file.getvalue() if pickled is None else pickled)
        for key, numbers in storages.items():
            archive.writestr(f"archive/data/{key}", numbers.tobytes())
