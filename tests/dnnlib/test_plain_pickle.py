"""The inert reader of pickle streams: its few names and operations, and limits of memory."""

import copyreg
import pickle
import struct
import tracemalloc

import pytest

from dnnlib import plain_pickle
from dnnlib.plain_pickle import Refused, read_plain_pickle
from tests.dnnlib.official_files import measured_refusal, named, text


def refusal_of(content, limit_bytes=8_000_000):
    return measured_refusal(Refused, read_plain_pickle, content, limit_bytes)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("builtins", "getattr"),
        ("builtins", "object"),
        ("copyreg", "_reconstructor"),
        ("copy_reg", "_reconstructor"),
        ("numpy", "load"),
        ("numpy", "core.multiarray._reconstruct"),
        ("numpy.core", "multiarray._reconstruct"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.lib.npyio", "load"),
        ("dnnlib.tflib.network", "Network.__init__"),
        ("dnnlib.tflib.network", "import_handlers"),
        ("dnnlib.util", "call_func_by_name"),
        ("dnnlib.errors", "UserError"),
        ("dnnlib.official_pickle", "read_networks"),
        ("collections", "namedtuple"),
        ("_codecs", "decode"),
        ("_codecs", "lookup"),
        ("pickle", "loads"),
        ("", "eval"),
    ],
)
def test_foreign_names_are_named(module, name):
    by_stack = b"\x80\x04" + named(module, name) + b"."
    by_line = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"."
    for content in (by_stack, by_line):
        with pytest.raises(Refused, match="no part of an official checkpoint") as caught:
            read_plain_pickle(content)
        assert f"{module}.{name}" in str(caught.value)


@pytest.fixture
def registered_extension():
    copyreg.add_extension("posix", "system", 240)
    yield
    copyreg.remove_extension("posix", "system", 240)


@pytest.mark.parametrize(
    "code", [b"\x82\xf0", b"\x83\xf0\x00", b"\x84\xf0\x00\x00\x00"], ids=["EXT1", "EXT2", "EXT4"]
)
def test_extension_codes(tmp_path, code, registered_extension):
    marker = tmp_path / "marker"
    content = b"\x80\x02" + code + text(f"touch {marker}") + b"\x85R."
    pickle.loads(content)
    assert marker.exists()  # the control
    marker.unlink()
    with pytest.raises(Refused, match="operation EXT"):
        read_plain_pickle(content)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "operation"),
    [
        (b"\x80\x02Pevil\n.", "PERSID"),
        (b"\x80\x02" + text("evil") + b"Q.", "BINPERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04" + named("dnnlib.tflib.network", "Network") + b")}\x92.", "NEWOBJ_EX"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
    ],
)
def test_operations_that_no_official_file_has(content, operation):
    with pytest.raises(Refused, match=f"operation {operation},"):
        read_plain_pickle(content)


NETWORK = named("dnnlib.tflib.network", "Network")
RECONSTRUCT = named("numpy.core.multiarray", "_reconstruct")


@pytest.mark.parametrize(
    "operations",
    [
        NETWORK + b")R",  # calling the class
        NETWORK + text("x") + b"\x85\x81",  # with arguments
        NETWORK + b")\x81N}" + text("__class__") + text("x") + b"s\x86b",  # slots state
        NETWORK + b")\x81" + text("x") + b"b",
        NETWORK + b")\x81K\x01a",  # APPEND to a network
        NETWORK + b")\x81" + text("state") + b"K\x01s",  # SETITEM on a network
        NETWORK + b"}b",  # state on the name itself
        RECONSTRUCT + NETWORK + b"K\x00\x85C\x01b\x87R",  # array of a foreign kind
        RECONSTRUCT + b"}R",
        named("numpy", "dtype") + NETWORK + b"\x85R",
        named("numpy", "dtype") + text("O") + b"\x85R",
        named("numpy", "dtype") + text("f4,O") + b"\x85R",
        named("_codecs", "encode") + text("x") + text("rot13") + b"\x86R",
        named("_codecs", "encode") + text("x") + b"\x85R",
        named("numpy.core.multiarray", "scalar") + b"NN\x86R",
        named("numpy.core.numeric", "_frombuffer") + b"(NNNtR",
        text("x") + b")R",
        b"K\x01)\x81",
    ],
)
def test_inert_records_take_no_liberties(operations):
    content = b"\x80\x04" + operations + b"."
    with pytest.raises(Refused):
        read_plain_pickle(content)


@pytest.mark.parametrize(
    "operation",
    [
        b"B" + struct.pack("<I", 2**32 - 1),
        b"\x8e" + struct.pack("<Q", 2**62),
        b"\x96" + struct.pack("<Q", 2**62),
        b"X" + struct.pack("<I", 2**32 - 1),
        b"\x8d" + struct.pack("<Q", 2**40),
        b"\x8b" + struct.pack("<i", 2**31 - 1),
        b"T" + struct.pack("<i", 2**31 - 1),
        b"\x95" + struct.pack("<Q", 2**60),
    ],
    ids="BINBYTES BINBYTES8 BYTEARRAY8 BINUNICODE BINUNICODE8 LONG4 BINSTRING FRAME".split(),  # noqa: SIM905
)
def test_sizes_beyond_the_end_of_the_file(operation):
    assert "cut short or damaged" in refusal_of(b"\x80\x04" + operation + b"abc")


def test_huge_memo_index():
    """The C unpickler would fill 64 GB with zeros."""
    content = b"\x80\x04Nr" + struct.pack("<I", 2**32 - 1) + b"."
    tracemalloc.start()
    assert read_plain_pickle(content) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_new_objects_take_no_arguments():
    """Otherwise what they hold would be lost without a word."""
    content = b"\x80\x04" + named("dnnlib.util", "EasyDict") + b"}\x85\x81."
    with pytest.raises(Refused, match="makes an object"):
        read_plain_pickle(content)


def test_nesting_deeper_than_the_c_stack():
    """A nested tuple as a dictionary key would overflow the stack of the C hash function."""
    content = b"\x80\x04})" + b"\x85" * 300_000 + b"Ns."
    assert "dictionary key" in refusal_of(content, limit_bytes=60_000_000)


def test_texts_encoded_again_and_again():
    once = named("_codecs", "encode") + b"\x94" + text("x" * 100_000) + b"\x94" + b"00"
    again = b"h\x00h\x01" + text("latin1") + b"\x86R"
    content = b"\x80\x04(" + once + again * 1000 + b"t."
    assert "memory" in refusal_of(content)


def test_array_with_absurd_dimensions():
    dtype = named("numpy", "dtype") + text("f4") + b"\x85R"
    shape = b"(" + (b"\x8a\x09" + b"\xff" * 8 + b"\x00") * 50_000 + b"t"
    content = named("numpy.core.numeric", "_frombuffer") + b"(C\x00" + dtype + shape
    assert "damaged" in refusal_of(b"\x80\x04" + content + b"tR.", 20_000_000)


def test_too_many_objects(monkeypatch):
    monkeypatch.setattr(plain_pickle, "_MAX_OPERATIONS", 1000)
    assert "objects" in refusal_of(b"\x80\x04(" + b"}" * 1001 + b"t.")
