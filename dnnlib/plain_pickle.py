"""Reads pickles of plain data (containers, texts, numbers, arrays, networks' states), inertly.

Ours and not a library's, because it is what makes files of strangers safe to open: official
TensorFlow-1 checkpoints here, PyTorch's files in `dnnlib.torch_files`.

Nothing from the file is executed. The file is not given to `pickle.load` at all: `pickletools`
splits it into operations, and the few operations that make data are carried out by this module. A
name such as `os.system` is looked up in a table of a dozen names, each of which stands for an inert
record. `PickleReader` carries out what all pickles have; its kinds know the names of one format.

`pickle.Unpickler` with a strict `find_class` would be as safe against code, but not against sizes:
it reserves memory for a length before it has read it (a memo index of four bytes costs 64 GB).
"""

import enum
import math
import mmap
import pickletools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Limits far beyond any official file (about 5,000 operations).
_MAX_OPERATIONS = 2_000_000
_MAX_SCALAR_BYTES = 4096

TORCH = "this is a PyTorch checkpoint; only TensorFlow-1 pickles of the official code are read"
_DAMAGED = "the pickle is cut short or damaged"
UNTOUCHED = "nothing from the file was executed"


class Refused(Exception):
    """Why a file is not read; the message completes a line that begins with the path."""


class RawNetwork:
    """Stand-in for `dnnlib.tflib.network.Network`: holds its state dictionary, runs nothing."""

    state: dict | None = None


class RawArray:
    """Stand-in for a NumPy array whose shape, type and content follow in the file."""

    value: np.ndarray | None = None


def read_plain_pickle(data: bytes | mmap.mmap) -> Any:
    """Return the object that a pickle of an official checkpoint describes, or raise `Refused`.

    It consists of lists, tuples, dictionaries, texts, bytes, numbers, None, read-only NumPy arrays,
    `RawArray` and `RawNetwork`, but may still hold leftovers that are neither: check its types.
    """
    return _OfficialReader(len(data)).read(data)


def printable(text: str) -> str:
    """Return untrusted text on one short line without control characters."""
    return ascii(text)[1:-1][:100]


_MARK = object()
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
_TEXTS = ("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_LITERALS = frozenset(_NUMBERS + _TEXTS + _BYTES)


class PickleReader:
    """Carries out the data-making operations of one pickle and refuses all others.

    Kinds say what the names of a format stand for, and what is made of them. They raise `Refused`
    for all that they do not know, and may raise what malformed data causes in their few lines.
    """

    format = "plain data"  # for messages: what such files are

    def __init__(self):
        self.stack: list = []
        self._memo: dict[int, Any] = {}

    def read(self, data: bytes | mmap.mmap) -> Any:
        """Return the object that the pickle in `data` describes; `Refused` if it is no plain data.

        Of a mapped file, the pickle at its position is read, and the position is behind it then.
        """
        try:
            # pickletools checks every length against what is left.
            for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
                if number >= _MAX_OPERATIONS:
                    raise Refused(f"far more objects than {self.format} have")
                self.carry_out(operation.name, argument)
            (result,) = self.stack
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            # Whatever a malformed stream can cause in the few lines that build data.
            raise Refused(f"{_DAMAGED} ({printable(str(error))}); fetch it again") from None
        return result

    def look_up(self, module: str, name: str) -> Any:
        """Return what a name of the file stands for: a record that can do nothing by itself."""
        raise Refused(
            f"refers to {printable(f'{module}.{name}')}, which is no part of {self.format}; "
            f"{UNTOUCHED}"
        )

    def make_object(self, kind: Any, arguments: Any) -> Any:
        """NEWOBJ: an object of the class that `kind` stands for."""
        raise Refused(f"makes an object that {self.format} do not have")

    def call(self, kind: Any, arguments: Any) -> Any:
        """REDUCE: what the function that `kind` stands for makes of its arguments."""
        raise Refused(f"calls something that {self.format} do not; {UNTOUCHED}")

    def set_state(self, target: Any, state: Any) -> None:
        """BUILD: the content of an object."""
        raise Refused("sets the state of something that has none")

    def load_outside(self, identifier: Any) -> Any:
        """BINPERSID: something that is stored outside of the pickle."""
        raise self._unknown("BINPERSID")

    def carry_out(self, operation: str, argument: Any) -> None:
        """Carry out one operation, given by its name in `pickletools`."""
        stack = self.stack
        if operation in _LITERALS:
            stack.append(argument)
            return
        match operation:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case "MEMOIZE" | "BINPUT" | "LONG_BINPUT":
                self._memo[len(self._memo) if argument is None else argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "APPEND":
                self._append(self._pop(1))
            case "APPENDS":
                self._append(self._pop_mark())
            case "SETITEM":
                self._set_items(self._pop(2))
            case "SETITEMS":
                self._set_items(self._pop_mark())
            case "BUILD":
                self.set_state(stack[-2], stack.pop())
            case _:
                stack.append(self._make(operation, argument))

    def _make(self, operation: str, argument: Any) -> Any:
        """Return what an operation makes of its argument or of the top of the stack."""
        match operation:
            case "NONE":
                return None
            case "NEWTRUE" | "NEWFALSE":
                return operation == "NEWTRUE"
            case "BYTEARRAY8":
                return bytes(argument)
            case "EMPTY_LIST":
                return []
            case "EMPTY_DICT":
                return {}
            case "EMPTY_TUPLE":
                return ()
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                return self._pop(int(operation[-1]))
            case "TUPLE":
                return tuple(self._pop_mark())
            case "GLOBAL":
                return self._look_up(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                return self._look_up(*self._pop(2))
            case "NEWOBJ":
                return self.make_object(*self._pop(2))
            case "REDUCE":
                return self.call(*self._pop(2))
            case "BINPERSID":
                return self.load_outside(self.stack.pop())
        raise self._unknown(operation)

    def _unknown(self, operation: str) -> Refused:
        return Refused(
            f"uses the pickle operation {operation}, which {self.format} do not have; {UNTOUCHED}"
        )

    def _look_up(self, module: Any, name: Any) -> Any:
        if type(module) is not str or type(name) is not str:
            raise Refused(_DAMAGED)
        return self.look_up(module, name)

    def _pop(self, count: int) -> tuple:
        """Remove and return the top of the stack."""
        return tuple(self.stack.pop() for _ in range(count))[::-1]

    def _pop_mark(self) -> list:
        """Remove and return what lies above the last mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _append(self, items: Sequence) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused("adds items to something that is no list")
        target.extend(items)

    def _set_items(self, items: Sequence) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise Refused("sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # also keeps hashing cheap: no nested tuples
                raise Refused("has a dictionary key that is neither a text nor a number")
            target[key] = value


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


@dataclass(frozen=True)
class _RawDtype:
    """Stand-in for a NumPy dtype: its code without byte order, such as `f4`."""

    code: str

    def check_state(self, state: tuple) -> None:
        """Check the state (version, order, subtype, names, fields, ...); no need to keep it."""
        _, order, *structure = state[:5]
        if structure != [None, None, None]:
            raise Refused("holds a structured array; official checkpoints hold numbers only")
        if order not in ("<", "|", "="):
            raise Refused("holds big-endian numbers, which are not supported")
        # "=" is the order of the machine that wrote the file; all official files are little-endian.


class _OfficialReader(PickleReader):
    """Knows the names in official checkpoints, and NumPy's arrays."""

    format = "official checkpoints"

    def __init__(self, spare_bytes: int):
        super().__init__()
        self._spare_bytes = spare_bytes  # what texts may take again when turned into bytes

    def look_up(self, module: str, name: str) -> _Name:
        """Return what a name stands for."""
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module.split(".")[0] in ("torch", "torch_utils", "torchvision"):
            raise Refused(TORCH)
        raise Refused(
            f"refers to {printable(f'{module}.{name}')}, which is no part of an official "
            f"checkpoint; {UNTOUCHED}"
        )

    def make_object(self, kind: Any, arguments: Any) -> RawNetwork | dict:
        """NEWOBJ: an empty network or dictionary."""
        if type(arguments) is tuple and not arguments:
            if kind is _Name.NETWORK:
                return RawNetwork()
            if kind is _Name.DICTIONARY:
                return {}
        raise Refused("makes an object that no official checkpoint has")

    def call(self, kind: Any, arguments: Any) -> Any:
        """REDUCE: one of the known ways to make an array, a number, a dictionary or bytes."""
        if not isinstance(kind, _Name) or type(arguments) is not tuple:
            raise Refused(f"calls something that official checkpoints do not; {UNTOUCHED}")
        match kind:
            case _Name.RECONSTRUCT if len(arguments) == 3 and arguments[0] is _Name.ARRAY:
                return RawArray()
            case _Name.FROM_BUFFER:
                return self._make_array(*arguments)
            case _Name.SCALAR:
                return self._make_scalar(*arguments)
            case _Name.DTYPE:
                return _make_dtype(*arguments)
            case _Name.DICTIONARY if not arguments:
                return {}
            case _Name.BYTES if not arguments:
                return b""
            case _Name.ENCODE if len(arguments) == 2 and arguments[1] in ("latin1", "latin-1"):
                return self._to_bytes(arguments[0])  # how Python 3 writes bytes into protocol 2
        raise Refused(f"calls something in a way that official checkpoints do not; {UNTOUCHED}")

    def set_state(self, target: Any, state: Any) -> None:
        """BUILD: the content of a network, an array or an array type."""
        if type(target) is RawNetwork and type(state) is dict:
            target.state = state
        elif type(target) is RawArray and type(state) is tuple:
            _, shape, dtype, is_fortran, content = state
            target.value = self._make_array(content, dtype, shape, "F" if is_fortran else "C")
        elif type(target) is _RawDtype and type(state) is tuple:
            target.check_state(state)
        else:
            raise Refused("sets the state of something that has none")

    def _make_array(self, content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
        """Return a read-only array that looks at `content`; nothing is copied."""
        content = self._to_bytes(content)
        if type(dtype) is not _RawDtype or type(shape) is not tuple or order not in ("C", "F"):
            raise Refused("holds an array that does not consist of plain numbers")
        resolved = np.dtype(f"<{dtype.code}")
        if len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
            raise ValueError("array shape")
        if math.prod(shape) * resolved.itemsize != len(content):
            raise ValueError("array size and content differ")
        return np.ndarray(shape, resolved, buffer=content, order=order)

    def _make_scalar(self, dtype: Any, content: Any) -> np.generic:
        content = self._to_bytes(content)
        if len(content) > _MAX_SCALAR_BYTES:
            raise Refused("holds a single number of absurd size")
        return self._make_array(content, dtype, ())[()]

    def _to_bytes(self, content: Any) -> bytes:
        """Return bytes for bytes, or for the texts that Python 2 wrote in their place."""
        if type(content) is bytes:
            return content
        if type(content) is not str:
            raise Refused("holds an array of objects; official checkpoints hold numbers only")
        self._spare_bytes -= len(content)
        if self._spare_bytes < 0:
            raise Refused("would take far more memory than its size allows")
        return content.encode("latin1")


def _make_dtype(code: Any, *_flags: Any) -> _RawDtype:
    if type(code) is not str or not re.fullmatch(r"[biufSU][0-9]{1,4}", code):
        raise Refused(
            f"holds an array of type {printable(code) if type(code) is str else '?'}; "
            "official checkpoints hold numbers only"
        )
    return _RawDtype(code)
