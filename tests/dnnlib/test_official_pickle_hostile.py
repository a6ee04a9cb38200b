"""Hostile pickles execute nothing and take no unreasonable memory or time.

Each payload would create a marker file. Where Python's own unpickler can load it, a control test
shows that the payload is live, so that "no marker" means that the reader held.
"""

import builtins
import collections
import contextlib
import copyreg
import functools
import importlib
import operator
import os
import pickle
import runpy
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

import dnnlib.official_pickle
from dnnlib.errors import UserError
from dnnlib.official_pickle import read_networks
from tests.dnnlib.official_files import (
    Call,
    StateSetter,
    measured_refusal,
    named,
    network,
    official_modules,
    text,
)

__all__ = ["official_modules"]


def system(marker):
    return Call(os.system, f"touch {marker}")


def write_program(marker, name, program):
    path = marker.with_name(name)
    path.write_text(program)
    return str(path)


def touching_array_file(marker):
    path = marker.with_suffix(".npy")
    np.save(path, np.array([system(marker)], dtype=object), allow_pickle=True)
    return str(path)


def numpy_state(marker):
    """An object array written by hand: its content is a list that holds the call."""
    reconstruct = np.zeros(1).__reduce__()[0]
    made = (np.ndarray, (0,), b"b")
    state = (1, (1,), np.dtype(object), False, [system(marker)])
    return Reduced(reconstruct, made, state)


class Reduced:
    """Pickles into any (function, arguments, state, items, pairs)."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


def in_settings(payload):
    return network(resolution=payload)


LIVE = {
    "os.system": system,
    "builtins.eval": lambda m: Call(builtins.eval, f"open({str(m)!r}, 'w')"),
    "builtins.exec": lambda m: Call(builtins.exec, f"open({str(m)!r}, 'w')"),
    "builtins.open": lambda m: Call(builtins.open, str(m), "w"),
    "builtins.__import__": lambda m: Call(Call(getattr, Call(__import__, "os"), "system"),
                                          f"touch {m}"),
    "builtins.getattr": lambda m: Call(
        Call(getattr, Call(importlib.import_module, "os"), "system"), f"touch {m}"
    ),
    "subprocess.Popen": lambda m: Call(subprocess.check_call, ["touch", str(m)]),
    "runpy.run_path": lambda m: Call(
        runpy.run_path, write_program(m, "evil.py", f"open({str(m)!r}, 'w')")
    ),
    "operator.methodcaller": lambda m: Call(
        Call(operator.methodcaller, "system", f"touch {m}"), Call(importlib.import_module, "os")
    ),
    "functools.partial": lambda m: Call(functools.partial(os.system, f"touch {m}")),
    "map in tuple": lambda m: Call(tuple, Call(map, os.system, [f"touch {m}"])),
    "copyreg._reconstructor": lambda m: Call(
        copyreg._reconstructor, subprocess.Popen, subprocess.Popen, ["touch", str(m)]
    ),
    "state setter": lambda m: Reduced(
        StateSetter, (), {"function": os.system, "command": f"touch {m}"}
    ),
    "state of a function": lambda m: Reduced(
        collections.OrderedDict, (), system(m)
    ),
    "numpy.load": lambda m: Call(np.load, touching_array_file(m), None, True),
    "numpy runstring": lambda m: Call(
        np.testing._private.utils.runstring, f"open({str(m)!r}, 'w')", {}
    ),
    "numpy.f2py": lambda m: Call(np.f2py.crackfortran.myeval, f"open({str(m)!r}, 'w')"),
    "object array": lambda m: np.array([system(m)], dtype=object),
    "object array by hand": numpy_state,
    "argument of an array": lambda m: Reduced(
        np.zeros(1).__reduce__()[0], (np.ndarray, (0,), system(m))
    ),
    "state of an array": lambda m: Reduced(
        np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, system(m))
    ),
    "argument of a dtype": lambda m: Call(np.dtype, [("a", "f4", system(m))]),
    "item of an OrderedDict": lambda m: collections.OrderedDict(a=system(m)),
    "pairs of an OrderedDict": lambda m: Call(collections.OrderedDict, [["a", system(m)]]),
    "dictionary key": lambda m: {(system(m),): 1},
    "set": lambda m: {1, system(m)},
    "in the settings": lambda m: in_settings(system(m)),
    "in the settings, nested": lambda m: in_settings([{"a": (np.float32(1), system(m))}]),
    "as a variable": lambda m: network(variables=[("weight", system(m))]),
    "as a component": lambda m: network(components={"mapping": system(m)}),
    "behind good networks": lambda m: (network(), network("D"), system(m)),
}  # fmt: skip


def text_protocol(marker):
    return f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()


def instance_operation(marker):
    return b"\x80\x02" + f"(S'touch {marker}'\nios\nsystem\n.".encode()


def object_operation(marker):
    return b"\x80\x02(cos\nsystem\n" + text(f"touch {marker}") + b"o."


def dotted_stack_global(marker):
    return b"\x80\x04" + named("numpy", "f2py.os.system") + text(f"touch {marker}") + b"\x85R."


def dotted_allowed_module(marker):
    name = named("collections", "_sys.modules.__class__")
    return b"\x80\x04" + name + b"0" + dotted_stack_global(marker)[2:]


def dotted_allowed_function(marker):
    name = named("numpy", "core.multiarray._reconstruct.__class__")
    return b"\x80\x04" + name + b"0" + dotted_stack_global(marker)[2:]


def new_object_function(marker):
    """copyreg.__newobj__(tuple, map(os.system, [command])) as a call, not as the operation."""
    calls = (
        named("builtins", "map") + named("os", "system") + text(f"touch {marker}") + b"\x85\x86R"
    )
    return (
        b"\x80\x04"
        + named("copyreg", "__newobj__")
        + named("builtins", "tuple")
        + calls
        + b"\x86R."
    )


def renamed_through_the_memo(marker):
    """The names travel through the memo, so that no opcode holds module and name together."""
    stored = text("posix") + b"\x94" + b"0" + text("system") + b"\x94" + b"0"
    return b"\x80\x04" + stored + b"h\x00h\x01\x93" + text(f"touch {marker}") + b"\x85R."


def memoised_before_it_is_refused(marker):
    return b"\x80\x04" + named("posix", "system") + b"\x94" + text(f"touch {marker}") + b"\x85R0)."


LIVE_BYTES = {
    "text protocol": text_protocol,
    "INST": instance_operation,
    "OBJ": object_operation,
    "dotted name": dotted_stack_global,
    "dotted name, allowed module": dotted_allowed_module,
    "dotted name, allowed function": dotted_allowed_function,
    "copyreg.__newobj__": new_object_function,
    "names through the memo": renamed_through_the_memo,
    "result thrown away": memoised_before_it_is_refused,
}


def payload(name, marker, protocol):
    if name in LIVE_BYTES:
        return LIVE_BYTES[name](marker)
    return pickle.dumps(LIVE[name](marker), protocol)


ALL = [(name, protocol) for name in LIVE for protocol in (2, 4)] + [(n, 4) for n in LIVE_BYTES]


@pytest.mark.parametrize(("name", "protocol"), ALL)
def test_payload_is_live_under_the_ordinary_unpickler(tmp_path, name, protocol, official_modules):
    marker = tmp_path / "marker"
    content = payload(name, marker, protocol)
    with contextlib.suppress(Exception):  # many return what their surroundings cannot digest
        pickle.loads(content)
    wait_for(marker)
    assert marker.exists()


@pytest.mark.parametrize(("name", "protocol"), ALL)
def test_payload_is_refused_and_does_nothing(tmp_path, name, protocol, official_modules):
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pkl"
    path.write_bytes(payload(name, marker, protocol))
    with pytest.raises(UserError) as caught:
        read_networks(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def wait_for(marker):
    for _ in range(100):  # Popen does not wait for its program
        if marker.exists():
            return
        time.sleep(0.02)


def test_source_text_is_ignored(tmp_path, official_modules):
    marker, path = tmp_path / "marker", tmp_path / "network.pkl"
    raw = network()
    raw.state["build_module_src"] = f"open({str(marker)!r}, 'w')"
    path.write_bytes(pickle.dumps(raw))
    assert list(read_networks(path)) == ["G"]
    assert not marker.exists()


def test_what_follows_the_pickle_is_ignored(tmp_path, official_modules):
    marker, path = tmp_path / "marker", tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps(network()) + pickle.dumps(system(marker)))
    assert list(read_networks(path)) == ["G"]
    assert not marker.exists()


def refusal_of(tmp_path, content):
    """Return the message, after checking that memory stayed within reason."""
    path = tmp_path / "bomb.pkl"
    path.write_bytes(content)
    return measured_refusal(UserError, read_networks, path)


def test_doubling_lists_in_the_settings(tmp_path):
    """2**40 items in a few bytes ("billion laughs")."""
    nest = text("lol") + b"2\x86" * 40
    content = (
        b"\x80\x04" + named("dnnlib.tflib.network", "Network") + b")\x81}("
        + text("name") + text("G") + text("build_func_name") + text("G_main")
        + text("variables") + b"]" + text("static_kwargs") + b"}" + text("a") + nest + b"su"
        + b"b."
    )  # fmt: skip
    assert "settings" in refusal_of(tmp_path, content)


def test_wide_settings(tmp_path, official_modules):
    """One list under many names: a thousand times a thousand times a thousand items."""
    inner = [0] * 1000
    middle = [inner] * 1000
    assert "settings" in refusal_of(tmp_path, pickle.dumps(network(a=[middle] * 1000)))


def test_deeply_nested_and_self_referring_settings(tmp_path, official_modules):
    nested: list = []
    for _ in range(300):
        nested = [nested]
    loop: list = []
    loop.append(loop)
    for value in (nested, loop):
        assert "settings" in refusal_of(tmp_path, pickle.dumps(network(a=value)))


def test_array_larger_than_its_content(tmp_path, official_modules):
    array = network(variables=[("a", np.zeros((77, 3), np.float32))])
    content = pickle.dumps(array, 4).replace(b"KMK\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86")
    assert "cut short or damaged" in refusal_of(tmp_path, content)


def test_too_many_variables(tmp_path, monkeypatch, official_modules):
    """One long list under many components would multiply."""
    monkeypatch.setattr(dnnlib.official_pickle, "_MAX_VARIABLES", 50)
    shared = [(f"v{i}", np.zeros(1, np.float32)) for i in range(10)]
    parts = {f"c{i}": network(f"c{i}", variables=shared) for i in range(6)}
    assert "variables" in refusal_of(tmp_path, pickle.dumps(network(components=parts)))


def test_python_memory_of_an_honest_file(tmp_path, official_modules):
    """The control of the limits: 8 MB of weights are read with little more than 8 MB."""
    path = tmp_path / "network.pkl"
    path.write_bytes(
        pickle.dumps(network(variables=[(f"v{i}", np.ones((512, 512), "f4")) for i in range(8)]))
    )
    tracemalloc.start()
    read = read_networks(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(value.nbytes for value in read["G"].variables.values()) == 2**23
    assert peak < 1.3 * 2**23
    assert sys.getsizeof(read) < 1000
