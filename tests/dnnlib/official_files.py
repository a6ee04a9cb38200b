"""Builds files in the official checkpoint format, and hostile ones, for the reader's tests."""

import pickle
import struct
import sys
import time
import tracemalloc
import types

import numpy as np
import pytest


class Network:
    """What the official `dnnlib.tflib.network.Network` leaves in a pickle: its state."""

    def __init__(self, **state):
        self.state = state

    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        self.state = state


class EasyDict(dict):
    """The official dictionary whose items are attributes."""


Network.__module__ = "dnnlib.tflib.network"
EasyDict.__module__ = "dnnlib.util"


@pytest.fixture
def official_modules(monkeypatch):
    """Make the official module names importable, so that `pickle` can write (and read) them."""
    for name in ("dnnlib.tflib", "dnnlib.tflib.network", "dnnlib.util"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["dnnlib.tflib.network"].Network = Network
    sys.modules["dnnlib.util"].EasyDict = EasyDict


def network(name="G", function="G_main", variables=(), components=None, **settings):
    """Return a network object as the official program would pickle it."""
    return Network(
        version=4,
        name=name,
        static_kwargs=settings,
        components=components or {},
        build_module_src="raise SystemExit('source text was executed')",
        build_func_name=function,
        variables=list(variables),
    )


class PythonTwoPickler(pickle._Pickler):
    """Writes protocol 2 as Python 2 did: texts and bytes alike are byte strings."""

    dispatch = dict(pickle._Pickler.dispatch)

    def _save_string(self, item):
        content = item.encode("latin1") if isinstance(item, str) else item
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(item)

    dispatch[str] = dispatch[bytes] = _save_string


class Call:
    """Pickles into: call `function` with `arguments` when the file is loaded."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments

    def __call__(self):
        """Never called; `pickle` insists that what it writes as a function is callable."""


class StateSetter:
    """An innocent-looking object that acts when its state is set."""

    def __setstate__(self, state):
        state["function"](state["command"])


def text(value: str) -> bytes:
    """The operation that pushes a text."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def named(module: str, name: str) -> bytes:
    """The operations that look up a name in the way of protocol 4."""
    return text(module) + text(name) + b"\x93"


def float_array(*values) -> np.ndarray:
    return np.array(values, np.float32)


def measured_refusal(error, read, content, limit_bytes=8_000_000) -> str:
    """Return the message with which `read(content)` fails, within reasonable memory and time."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        with pytest.raises(error) as caught:
            read(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit_bytes
    assert time.monotonic() - started < 20
    return str(caught.value)
