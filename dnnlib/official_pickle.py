"""Reads official TensorFlow-1 checkpoints (StyleGAN2, StyleGAN2-ADA, GANformer) as plain data.

An official checkpoint is a pickle of `dnnlib.tflib.network.Network` objects, which the official
program restores by executing Python source text that the pickle carries. Here nothing from the file
is executed. The file is not given to `pickle.load` at all: `pickletools` splits it into
operations, and the few operations that make data are carried out by this module. A name such as
`os.system` is looked up in a table of a dozen names, each of which stands for an inert record.

`pickle.Unpickler` with a strict `find_class` would be as safe against code, but not against sizes:
it reserves memory for a length before it has read it (a memo index of four bytes costs 64 GB).
"""

import enum
import math
import mmap
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError

_KEYS = ("G", "D", "Gs")
# Names of the component networks as every official program gives them.
_COMPONENT_NAMES = {"mapping": "G_mapping", "synthesis": "G_synthesis"}

# Limits far beyond any official file (about 5,000 operations and 500 variables each).
_MAX_OPERATIONS = 2_000_000
_MAX_VARIABLES = 100_000
_MAX_SETTINGS = 100_000
_MAX_SETTING_DEPTH = 16
_MAX_SCALAR_BYTES = 4096


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
        raise UserError(f"{path}: no such file; check the path")
    if not path.is_file():
        raise UserError(f"{path}: not a file; an official .pkl is needed")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; fetch it again")
    _refuse_other_formats(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _name_networks(_PlainPickle(data).read())
    except _Refused as reason:
        raise UserError(f"{path}: {reason}") from None


class _Refused(Exception):
    """Why a file is not read; the message completes a line that begins with the path."""


_DAMAGED = "the pickle is cut short or damaged"


_TORCH = "this is a PyTorch checkpoint; only TensorFlow-1 pickles of the official code are read"
_SIGNATURES = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": _TORCH,  # magic number of old torch.save files
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
            raise UserError(f"{path}: {message}")
    if head.startswith(b"PK\x03\x04"):
        raise UserError(f"{path}: {_describe_zip(path)}")
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
        return _TORCH
    return "this is a zip archive (npz?), not an official TensorFlow-1 pickle"


class _Name(enum.Enum):
    """What a module-level name in the file stands for. None of them can do anything by itself."""

    NETWORK = enum.auto()
    DICTIONARY = enum.auto()
    ARRAY = enum.auto()
    DTYPE = enum.auto()
    RECONSTRUCT = enum.auto()
    FROM_BUFFER = enum.auto()
    SCALAR = enum.auto()
    ENCODE = enum.auto()
    BYTES = enum.auto()


_NAMES = {
    ("dnnlib.tflib.network", "Network"): _Name.NETWORK,
    ("dnnlib.tflib", "Network"): _Name.NETWORK,
    ("dnnlib.util", "EasyDict"): _Name.DICTIONARY,
    ("dnnlib", "EasyDict"): _Name.DICTIONARY,
    ("collections", "OrderedDict"): _Name.DICTIONARY,
    ("numpy", "ndarray"): _Name.ARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Name.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Name.FROM_BUFFER,
    ("numpy.core.multiarray", "scalar"): _Name.SCALAR,
    ("numpy._core.multiarray", "scalar"): _Name.SCALAR,
    ("_codecs", "encode"): _Name.ENCODE,
    ("__builtin__", "bytes"): _Name.BYTES,  # how Python 3 writes empty bytes into protocol 2
}


def _look_up(module: Any, name: Any) -> _Name:
    if type(module) is not str or type(name) is not str:
        raise _Refused(_DAMAGED)
    if (module, name) in _NAMES:
        return _NAMES[module, name]
    if module.split(".")[0] in ("torch", "torch_utils", "torchvision"):
        raise _Refused(_TORCH)
    raise _Refused(
        f"refers to {_printable(f'{module}.{name}')}, which is no part of an official checkpoint; "
        "nothing from the file was executed"
    )


def _printable(text: str) -> str:
    """Return untrusted text on one short line without control characters."""
    return ascii(text)[1:-1][:100]


class _RawNetwork:
    """Stand-in for `dnnlib.tflib.network.Network`: holds its state dictionary, runs nothing."""

    state: dict | None = None


class _RawArray:
    """Stand-in for a NumPy array whose shape, type and content follow in the file."""

    value: np.ndarray | None = None


@dataclass
class _RawDtype:
    """Stand-in for a NumPy dtype: its code without byte order, such as `f4`."""

    code: str
    order: str = "<"

    def resolve(self) -> np.dtype:
        return np.dtype(f"{self.order}{self.code}")


_MARK = object()


class _PlainPickle:
    """Carries out the data-making operations of one pickle stream and refuses all others."""

    def __init__(self, data: mmap.mmap):
        self._data = data
        self._spare_bytes = len(data)  # what texts may take again when they are turned into bytes
        self._stack: list = []
        self._memo: dict[int, Any] = {}

    def read(self) -> Any:
        """Return the object that the stream describes."""
        try:
            for number, (name, argument) in enumerate(self._operations()):
                if number >= _MAX_OPERATIONS:
                    raise _Refused("far more objects than an official checkpoint has")
                self._carry_out(name, argument)
            (result,) = self._stack
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            # Whatever a malformed stream can cause in the few lines that build data.
            raise _Refused(f"{_DAMAGED} ({_printable(str(error))}); fetch it again") from None
        return result

    def _operations(self) -> Iterator[tuple[str, Any]]:
        """Yield (name, argument); `pickletools` checks every length against what is left."""
        for operation, argument, _ in pickletools.genops(self._data):
            if operation.name == "STOP":
                return
            yield operation.name, argument

    def _carry_out(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise _Refused(
                f"uses the pickle operation {name}, which official checkpoints do not have; "
                "nothing from the file was executed"
            )

    def push(self, item: Any) -> None:
        self._stack.append(item)

    def pop_mark(self, _argument: Any = None) -> list:
        """Remove and return what lies above the last mark."""
        position = len(self._stack) - 1
        while self._stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise IndexError("mark missing")
        items = self._stack[position + 1 :]
        del self._stack[position:]
        return items

    def pop(self, _argument: Any = None) -> Any:
        """Remove and return the top of the stack."""
        return self._stack.pop()

    def duplicate(self, _argument: Any) -> None:
        self._stack.append(self._stack[-1])

    def memoize(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def recall(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def make_tuple(self, length: int) -> None:
        items = tuple(reversed([self._stack.pop() for _ in range(length)]))
        self._stack.append(items)

    def make_marked_tuple(self, _argument: Any) -> None:
        self._stack.append(tuple(self.pop_mark()))

    def append(self, items: list) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise _Refused("adds items to something that is no list")
        target.extend(items)

    def set_items(self, items: list) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise _Refused("sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # also keeps hashing cheap: no nested tuples
                raise _Refused("has a dictionary key that is neither a text nor a number")
            target[key] = value

    def name_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_look_up(module, name))

    def name_stack_global(self, _argument: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_look_up(module, name))

    def make_object(self, _argument: Any) -> None:
        """NEWOBJ: an empty network or dictionary."""
        arguments, kind = self._stack.pop(), self._stack.pop()
        makers = {_Name.NETWORK: _RawNetwork, _Name.DICTIONARY: dict}
        known = isinstance(kind, _Name) and kind in makers
        if not known or type(arguments) is not tuple or len(arguments) != 0:
            raise _Refused("makes an object that no official checkpoint has")
        self._stack.append(makers[kind]())

    def call(self, _argument: Any) -> None:
        """REDUCE: one of the known ways to make an array, a number, a dictionary or bytes."""
        arguments, kind = self._stack.pop(), self._stack.pop()
        if not isinstance(kind, _Name) or kind not in _CALLS or type(arguments) is not tuple:
            raise _Refused("calls something that no official checkpoint calls; it was not executed")
        self._stack.append(_CALLS[kind](self, *arguments))

    def set_state(self, _argument: Any) -> None:
        """BUILD: the content of a network, an array or an array type."""
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is _RawNetwork and type(state) is dict:
            target.state = state
        elif type(target) is _RawArray and type(state) is tuple:
            _, shape, dtype, is_fortran, content = state
            target.value = self.make_array(content, dtype, shape, "F" if is_fortran else "C")
        elif type(target) is _RawDtype and type(state) is tuple:
            _set_byte_order(target, state)
        else:
            raise _Refused("sets the state of something that has none")

    def make_raw_array(self, kind: Any, _shape: Any, _code: Any) -> _RawArray:
        if kind is not _Name.ARRAY:
            raise _Refused("holds a kind of array that official checkpoints do not have")
        return _RawArray()

    def make_dtype(self, code: Any, *_flags: Any) -> _RawDtype:
        if type(code) is not str or not re.fullmatch(r"[biufSU][0-9]{1,4}", code):
            raise _Refused(
                f"holds an array of type {_printable(str(code)) if type(code) is str else '?'}; "
                "official checkpoints hold numbers only"
            )
        return _RawDtype(code)

    def make_array(self, content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
        """Return a read-only array that looks at `content`; nothing is copied."""
        content = self.to_bytes(content)
        if type(dtype) is not _RawDtype or type(shape) is not tuple or order not in ("C", "F"):
            raise _Refused("holds an array that does not consist of plain numbers")
        resolved = dtype.resolve()
        if len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError("array shape")
        if math.prod(shape) * resolved.itemsize != len(content):
            raise ValueError("array size and content differ")
        return np.ndarray(shape, resolved, buffer=content, order=order)

    def make_scalar(self, dtype: Any, content: Any) -> np.generic:
        content = self.to_bytes(content)
        if len(content) > _MAX_SCALAR_BYTES:
            raise _Refused("holds a single number of absurd size")
        return self.make_array(content, dtype, ())[()]

    def make_dictionary(self) -> dict:
        return {}

    def make_empty_bytes(self) -> bytes:
        return b""

    def encode(self, text: Any, encoding: Any) -> bytes:
        """How Python 3 writes bytes into protocol 2."""
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise _Refused("encodes a text in a way that official checkpoints do not")
        return self.to_bytes(text)

    def to_bytes(self, content: Any) -> bytes:
        """Return bytes for bytes, or for the texts that Python 2 wrote in their place."""
        if type(content) is bytes:
            return content
        if type(content) is not str:
            raise _Refused("holds an array of objects; official checkpoints hold numbers only")
        self._spare_bytes -= len(content)
        if self._spare_bytes < 0:
            raise _Refused("would take far more memory than its size allows")
        return content.encode("latin1")


def _set_byte_order(dtype: _RawDtype, state: tuple) -> None:
    """Take the byte order from the state (version, order, subtype, names, fields, ...)."""
    _, order, subtype, names, fields = state[:5]
    if subtype is not None or names is not None or fields is not None:
        raise _Refused("holds a structured array; official checkpoints hold numbers only")
    if order not in ("<", "|", "="):
        raise _Refused("holds big-endian numbers, which are not supported")
    # "=" is the order of the machine that wrote the file; all official files are little-endian.


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
_TEXTS = ("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_LITERALS = frozenset(_NUMBERS + _TEXTS + _BYTES)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_ACTIONS: dict[str, Callable[[_PlainPickle, Any], Any]] = {
    "BYTEARRAY8": lambda machine, argument: machine.push(bytes(argument)),
    "POP": _PlainPickle.pop,
    "POP_MARK": _PlainPickle.pop_mark,
    "DUP": _PlainPickle.duplicate,
    "MEMOIZE": _PlainPickle.memoize,
    "BINPUT": _PlainPickle.memoize,
    "LONG_BINPUT": _PlainPickle.memoize,
    "BINGET": _PlainPickle.recall,
    "LONG_BINGET": _PlainPickle.recall,
    "TUPLE": _PlainPickle.make_marked_tuple,
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "GLOBAL": _PlainPickle.name_global,
    "STACK_GLOBAL": _PlainPickle.name_stack_global,
    "NEWOBJ": _PlainPickle.make_object,
    "REDUCE": _PlainPickle.call,
    "BUILD": _PlainPickle.set_state,
}
_CALLS: dict[_Name, Callable[..., Any]] = {
    _Name.RECONSTRUCT: _PlainPickle.make_raw_array,
    _Name.FROM_BUFFER: _PlainPickle.make_array,
    _Name.SCALAR: _PlainPickle.make_scalar,
    _Name.DTYPE: _PlainPickle.make_dtype,
    _Name.DICTIONARY: _PlainPickle.make_dictionary,
    _Name.ENCODE: _PlainPickle.encode,
    _Name.BYTES: _PlainPickle.make_empty_bytes,
}


def _name_networks(content: Any) -> dict[str, OfficialNetwork]:
    """Find the networks in the file's content: (G, D, Gs) or one network."""
    if type(content) is _RawNetwork:
        network = _to_network(content)
        return {_single_key(network): network}
    if type(content) in (tuple, list) and len(content) == len(_KEYS):
        present = {key: item for key, item in zip(_KEYS, content, strict=True) if item is not None}
        if present and all(type(item) is _RawNetwork for item in present.values()):
            return {key: _to_network(item) for key, item in present.items()}
    raise _Refused(
        "holds no networks; an official checkpoint is the tuple (G, D, Gs) or a single network"
    )


def _single_key(network: OfficialNetwork) -> str:
    if network.name in _KEYS:
        return network.name
    function = network.function.rpartition(".")[2]
    for key, beginnings in {"G": ("G_", "Generator"), "D": ("D_", "Discriminator")}.items():
        if function.startswith(beginnings):
            return key
    raise _Refused(
        f"holds the network {_printable(network.name)} ({_printable(network.function)}), which is "
        "neither a generator nor a discriminator"
    )


def _to_network(raw: _RawNetwork) -> OfficialNetwork:
    state = _check_state(raw)
    return OfficialNetwork(
        name=state["name"],
        function=state["build_func_name"],
        settings=_PlainSettings().convert(state["static_kwargs"]),
        variables=dict(_full_variables(raw)),
    )


_STATE_TYPES = {"name": str, "build_func_name": str, "static_kwargs": dict, "variables": list}


def _check_state(raw: _RawNetwork) -> dict:
    """Return a network's state after checking the entries that are used (never the source text)."""
    state = raw.state
    if state is None:
        raise _Refused("holds a network without content")
    for key, kind in _STATE_TYPES.items():
        if type(state.get(key)) is not kind:
            raise _Refused(f'holds a network without "{key}"; a too old or a foreign format')
    return state


def _full_variables(raw: _RawNetwork) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (full name, array): the network's own variables, then those of its components."""
    lists = [("", _check_state(raw)["variables"])]
    components = raw.state.get("components", {})
    if type(components) is not dict:
        raise _Refused("holds a network whose components are no dictionary")
    for key, component in components.items():
        if type(component) is not _RawNetwork:
            raise _Refused("holds a component that is no network")
        state = _check_state(component)
        nested = state.get("components", {})
        if type(nested) is not dict or len(nested) > 0:
            raise _Refused("holds components within components, which no official network has")
        lists.append((f"{_COMPONENT_NAMES.get(key, state['name'])}/", state["variables"]))
    if sum(len(variables) for _, variables in lists) > _MAX_VARIABLES:
        raise _Refused("holds far more variables than an official network has")
    seen = set()
    for prefix, variables in lists:
        for name, value in _check_variables(variables):
            if prefix + name in seen:
                raise _Refused(f"holds the variable {_printable(prefix + name)} twice")
            seen.add(prefix + name)
            yield prefix + name, value


def _check_variables(variables: list) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (local name, array) from one network's list of variables, checked."""
    for entry in variables:
        if type(entry) not in (tuple, list) or len(entry) != 2 or type(entry[0]) is not str:
            raise _Refused("holds a variable that is not a pair of name and array")
        name, value = entry
        value = value.value if type(value) is _RawArray else value
        if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "biuf":
            raise _Refused(f"holds the variable {_printable(name)} without numbers")
        yield name, np.asarray(value)


class _PlainSettings:
    """Turns settings into plain Python values, within limits of size and depth."""

    def __init__(self):
        self._left = _MAX_SETTINGS

    def convert(self, value: Any, depth: int = 0) -> Any:
        """Return `value` with NumPy numbers and arrays as Python numbers and lists."""
        value = value.value if type(value) is _RawArray else value
        self._left -= value.size if isinstance(value, np.ndarray) else 1
        if self._left < 0 or depth > _MAX_SETTING_DEPTH:
            raise _Refused("has settings far larger than an official network's")
        if type(value) in (str, bytes, int, float, bool, type(None)):
            return value
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if type(value) in (tuple, list):
            return type(value)(self.convert(item, depth + 1) for item in value)
        if type(value) is dict:
            return {key: self.convert(item, depth + 1) for key, item in value.items()}
        raise _Refused("has a setting that is not plain data")
