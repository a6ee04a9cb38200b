"""The reader of official pickles: what the golden files hold, other layouts, and bad files."""

import collections
import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.official_pickle import OfficialNetwork, read_networks
from tests.dnnlib.official_files import (
    EasyDict,
    PythonTwoPickler,
    float_array,
    network,
    official_modules,
)

__all__ = ["official_modules"]
GOLDEN = Path(__file__).parents[1] / "golden" / "pkl"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.pkl"))


def write(tmp_path, content, protocol=4):
    path = tmp_path / "file.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


def message_of(path) -> str:
    with pytest.raises(UserError) as caught:
        read_networks(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def full_names(raw) -> dict:
    """Variables of a network that `pickle` itself has read."""
    variables = dict(raw.state["variables"])
    for component in raw.state["components"].values():
        for name, value in component.state["variables"]:
            variables[f"{component.state['name']}/{name}"] = value
    return variables


def test_golden_files_are_there():
    assert NAMES == ["duplex", "older_names_duplex", "simplex", "stylegan2"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_names_shapes_and_settings(name):
    networks = read_networks(GOLDEN / f"{name}.pkl")
    described = json.loads((GOLDEN / f"{name}.json").read_text())
    assert list(networks) == described["order"]
    for key in ("G", "D"):
        expected = [(v["name"], tuple(v["shape"])) for v in described["variables"][key]]
        assert [(n, v.shape) for n, v in networks[key].variables.items()] == expected
        assert networks[key].settings == described[f"kwargs_{key}"]
    assert list(networks["Gs"].variables) == list(networks["G"].variables)
    assert networks["Gs"].settings == networks["G"].settings


@pytest.mark.parametrize("name", NAMES)
def test_golden_values_equal_what_pickle_reads(name, official_modules):
    """The golden files are trusted, so here the ordinary unpickler may be the judge."""
    with open(GOLDEN / f"{name}.pkl", "rb") as file:
        judge = dict(zip(("G", "D", "Gs"), pickle.load(file), strict=True))
    for key, read in read_networks(GOLDEN / f"{name}.pkl").items():
        expected = full_names(judge[key])
        assert expected.keys() == read.variables.keys()
        for variable, value in expected.items():
            np.testing.assert_array_equal(read.variables[variable], value)
            assert read.variables[variable].dtype == value.dtype


def test_golden_numbers_known_from_the_bytes():
    """Read off the file with pickletools: b'\\xbe\\xb0\\x91?...' is the first noise map."""
    noise = read_networks(GOLDEN / "duplex.pkl")["G"].variables["G_synthesis/noise0"]
    expected = np.frombuffer(b"\xbe\xb0\x91?\x9f\xc7\xb8?\xa7\xe6T>\t\x92\x88?", "<f4")
    np.testing.assert_array_equal(noise[0, 0, 0], expected)


def test_functions_are_kept_as_given():
    networks = read_networks(GOLDEN / "older_names_duplex.pkl")
    functions = {key: network.function for key, network in networks.items()}
    assert functions == {"G": "G_GANformer", "D": "D_GANformer", "Gs": "G_GANformer"}
    assert read_networks(GOLDEN / "simplex.pkl")["D"].function == "Discriminator"


def test_moving_average_differs_from_the_generator():
    networks = read_networks(GOLDEN / "simplex.pkl")
    name = "G_synthesis/4x4/Conv/weight"
    assert not np.array_equal(networks["G"].variables[name], networks["Gs"].variables[name])


def make_variables():
    return [
        ("weight", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("fortran", np.asfortranarray(np.arange(6.0).reshape(2, 3))),
        ("strength", np.float32(0.5)),
        ("zero_dimensional", np.array(3, np.int64)),
        ("half", np.array([1.5], np.float16)),
        ("flag", np.array([True, False])),
        ("empty", np.zeros((0, 16), np.float32)),
    ]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_every_protocol_and_of_new_numpy(tmp_path, protocol, official_modules):
    path = write(tmp_path, network(variables=make_variables()), protocol)
    read = read_networks(path)["G"].variables
    for name, value in make_variables():
        np.testing.assert_array_equal(read[name], value)
        assert (read[name].shape, read[name].dtype) == (np.shape(value), value.dtype)


def test_python_2_file(tmp_path, official_modules):
    file = io.BytesIO()
    PythonTwoPickler(file, 2).dump(network(variables=make_variables(), resolution=64))
    assert b"U\x01" not in file.getvalue() and b"_codecs" not in file.getvalue()
    read = read_networks(write(tmp_path, file.getvalue()))["G"]
    assert read.settings == {"resolution": 64}
    for name, value in make_variables():
        np.testing.assert_array_equal(read.variables[name], value)


def test_settings_become_plain_python_values(tmp_path, official_modules):
    settings = {
        "easy": EasyDict(a=EasyDict(b=np.float32(0.5))),
        "ordered": collections.OrderedDict(z=1, a=2),
        "kernel": np.array([1, 3, 3, 1]),
        "count": np.int64(2**40),
        "flag": np.bool_(True),
        "mixed": [None, (1, "two", 3.0), b"four", -(2**70)],
        "text": np.str_("lrelu"),
    }
    read = read_networks(write(tmp_path, network(**settings)))["G"].settings
    assert read == {
        "easy": {"a": {"b": 0.5}},
        "ordered": {"z": 1, "a": 2},
        "kernel": [1, 3, 3, 1],
        "count": 2**40,
        "flag": True,
        "mixed": [None, (1, "two", 3.0), b"four", -(2**70)],
        "text": "lrelu",
    }
    assert {type(read[key]) for key in ("easy", "ordered")} == {dict}
    assert [type(read[key]) for key in ("kernel", "count", "flag", "text")] == [
        list, int, bool, str,
    ]  # fmt: skip


def test_components_get_the_official_prefixes(tmp_path, official_modules):
    """By their role, as a clone may have renamed them; settings of components are not mixed in."""
    parts = {
        "synthesis": network("Gs_synthesis", variables=[("noise0", float_array(1))], resolution=8),
        "mapping": network("G_mapping", variables=[("Dense0/bias", float_array(2))]),
    }
    raw = network(variables=[("dlatent_avg", float_array(3))], components=parts, resolution=4)
    read = read_networks(write(tmp_path, raw))["G"]
    assert list(read.variables) == ["dlatent_avg", "G_synthesis/noise0", "G_mapping/Dense0/bias"]
    assert read.settings == {"resolution": 4}


def test_old_networks_without_components(tmp_path, official_modules):
    raw = network("D", "D_basic")
    del raw.state["components"]
    assert read_networks(write(tmp_path, raw)) == {"D": OfficialNetwork("D", "D_basic", {}, {})}


@pytest.mark.parametrize(
    ("name", "function", "key"),
    [
        ("Gs", "G_main", "Gs"),
        ("D", "D_stylegan2", "D"),
        ("my_network", "training.networks.G_style", "G"),
        ("my_network", "Discriminator", "D"),
    ],
)
def test_a_single_network(tmp_path, name, function, key, official_modules):
    assert list(read_networks(write(tmp_path, network(name, function)))) == [key]


def test_missing_members_of_the_tuple_are_absent(tmp_path, official_modules):
    path = write(tmp_path, (None, None, network("Gs")))
    assert list(read_networks(path)) == ["Gs"]


def test_arrays_are_read_only_and_outlive_the_file(tmp_path, official_modules):
    path = write(tmp_path, network(variables=[("a", float_array(1, 2))]), protocol=5)
    array = read_networks(path)["G"].variables["a"]
    path.unlink()
    assert array.sum() == 3
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5


def test_reading_imports_no_tensorflow_and_no_models():
    program = (
        "import sys; from dnnlib.official_pickle import read_networks; "
        f"assert len(read_networks({str(GOLDEN / 'duplex.pkl')!r})) == 3; "
        "print([m for m in ('tensorflow', 'gansformer', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("kept", [1, 2, 11, 100, 900, 5000, 100_000, -1])
def test_truncated_pickle(tmp_path, kept):
    content = (GOLDEN / "duplex.pkl").read_bytes()
    assert "cut short or damaged" in message_of(write(tmp_path, content[:kept]))


def test_flipped_bytes_never_do_more_than_a_user_error(tmp_path):
    """Fuzzing: a damaged file is read (a weight may change) or refused, nothing else."""
    content = (GOLDEN / "stylegan2.pkl").read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in generator.integers(0, 3000, size=3):
            damaged[position] = generator.integers(0, 256)
        try:
            read_networks(write(tmp_path, bytes(damaged)))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).isprintable()
    assert refused > 50


def zip_content(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"content")
    return file.getvalue()


TORCH_LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
TORCH_PERSISTENCE = b"\x80\x03ctorch_utils.persistence\n_reconstruct_persistent_obj\nq\x00."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (zip_content("archive/data.pkl"), "PyTorch"),
        (TORCH_LEGACY, "PyTorch"),
        (TORCH_PERSISTENCE, "PyTorch"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n.", "PyTorch"),
        (zip_content("weights.npy"), "zip archive"),
        (b"PK\x03\x04 broken", "damaged zip"),
        (b"\x89HDF\r\n\x1a\n and more", "HDF5"),
        (b"\x1f\x8b\x08 and more", "gzip"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git-LFS"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"just some text", "not a binary pickle"),
        (pickle.dumps({"a": 1}, 0), "not a binary pickle"),
        (pickle.dumps({"G": 1, "D": 2}), "holds no networks"),
        (pickle.dumps((1, 2, 3)), "holds no networks"),
        (pickle.dumps((None, None, None)), "holds no networks"),
        (pickle.dumps(float_array(1, 2)), "holds no networks"),
        (b"\x80\x04\x88\x88.", "cut short or damaged"),
        (b"\x80\x04.", "cut short or damaged"),
        (b"\x80\x04t.", "cut short or damaged"),
        (b"\x80\x04h\x07.", "cut short or damaged"),
        (b"\x80\x04\xff.", "cut short or damaged"),
        (pickle.dumps(Path("x")), "refers to pathlib."),
    ],
)
def test_other_files_are_named(tmp_path, content, reason):
    assert reason in message_of(write(tmp_path, content))


def test_missing_file_and_directory(tmp_path):
    assert "no such file" in message_of(tmp_path / "absent.pkl")
    assert "not a file" in message_of(tmp_path)


def without(key, **state):
    raw = network()
    raw.state.update(state)
    if key in raw.state and key not in state:
        del raw.state[key]
    return raw


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: network("vgg16", "vgg16_zhang"), "neither a generator nor a discriminator"),
        (lambda: without("variables"), 'without "variables"'),
        (lambda: without("static_kwargs"), 'without "static_kwargs"'),
        (lambda: without("name", name=7), 'without "name"'),
        (lambda: network(variables=[("a", [1, 2])]), "variable a without numbers"),
        (lambda: network(variables=[("a", np.array(["x"]))]), "variable a without numbers"),
        (lambda: network(variables=[("a", float_array(1)), ("a", float_array(2))]), "a twice"),
        (lambda: network(variables=[7]), "not a pair"),
        (lambda: network(variables=[("a", np.array([None]))]), "type O8"),
        (lambda: network(variables=[("a", np.zeros(2, "f4,i4"))]), "type V8"),
        (lambda: network(variables=[("a", np.zeros(2, ">f4"))]), "big-endian"),
        (lambda: network(variables=[("a", np.zeros(2, "M8[s]"))]), "type M8"),
        (lambda: network(components={"mapping": 5}), "component that is no network"),
        (
            lambda: network(components={"mapping": network(components={"x": network()})}),
            "components within components",
        ),
        (lambda: network(sub=network()), "setting that is not plain data"),
        (lambda: network(key={(1, 2): 3}), "dictionary key"),
    ],
)
def test_networks_that_make_no_sense(tmp_path, make, reason, official_modules):
    assert reason in message_of(write(tmp_path, make()))


def test_control_characters_of_the_file_do_not_reach_the_terminal(tmp_path):
    content = b"\x80\x04\x8c\x07a\x1b[31m\n\x8c\x06b\r\x00\xc2\x9b1\x93."
    message = message_of(write(tmp_path, content))
    assert message.isprintable() and "\\x1b" in message
