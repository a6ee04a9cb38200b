"""Networks in PyTorch's pickles: in all forms, damaged, and from people who mean harm."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.official_pickle import TorchFile, read_networks
from dnnlib.torch_networks import read_torch_networks
from tests.dnnlib.torch_pickles import (
    Module,
    plain_pickle,
    storage_bytes,
    torch_modules,  # noqa: F401 (a fixture)
    zip_file,
)
from tests.golden_files import GOLDEN

OLDER = GOLDEN / "torch" / "ada_older.pkl"
NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def content(**more) -> dict:
    channels_last = np.moveaxis(NUMBERS.copy(), -1, 1)  # strides that are not those of its shape
    part = Module("Layer", {"weight": NUMBERS, "turned": channels_last})
    return {
        "G_ema": Module("Generator", {"scalar": np.float32([7])}, {"b4": part}, z_dim=4),
        **more,
    }


@pytest.mark.parametrize("form", ["plain", "old plain", "zip"])
def test_tensors_strides_and_settings(form, tmp_path, torch_modules):  # noqa: F811
    path = tmp_path / "x.pkl"
    if form == "zip":
        zip_file(path, content(D=None))
    else:
        path.write_bytes(plain_pickle(content(D=None), 4 if form == "plain" else 3))
    found = read_torch_networks(path)
    network = found.networks["G_ema"]
    assert list(found.networks) == ["G_ema"] and found.rest == {"D": None}
    assert (network.kind, network.settings) == ("Generator", {"z_dim": 4})
    assert sorted(network.tensors) == ["b4.turned", "b4.weight", "scalar"]
    np.testing.assert_array_equal(network.tensors["b4.weight"], NUMBERS)
    np.testing.assert_array_equal(network.tensors["b4.turned"], np.moveaxis(NUMBERS, -1, 1))
    with pytest.raises(TorchFile):
        read_networks(path)


class Hostile:
    """What a malicious file would do when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("place", ["beside", "in a network", "in a storage", "in a zip"])
def test_nothing_in_a_file_is_executed(place, tmp_path, torch_modules):  # noqa: F811
    path, marker = tmp_path / "hostile.pkl", tmp_path / "executed"
    hostile = Hostile(marker)
    if place == "in a storage":
        stored = storage_bytes(NUMBERS)
        start = stored.index(pickle.dumps(1001, 2))
        harmful = plain_pickle(content()).replace(
            storage_bytes(NUMBERS.reshape(-1))[: len(stored)],
            (stored[:start] + pickle.dumps(hostile, 2)).ljust(len(stored), b"."),
        )
        path.write_bytes(harmful)
    elif place == "in a zip":
        zip_file(path, content(extra=hostile))
    elif place == "in a network":
        path.write_bytes(plain_pickle({"G": Module(z_dim=hostile)}))
    else:
        path.write_bytes(plain_pickle(content(extra=hostile)))
    with pytest.raises(UserError, match="posix.system.*nothing .* executed") as caught:
        read_torch_networks(path)
    assert "\n" not in str(caught.value) and not marker.exists()


@pytest.mark.parametrize("length", [100, 5_000, 100_000, -1])
def test_files_that_are_cut_short(length, tmp_path):
    path = tmp_path / "cut.pkl"
    path.write_bytes(OLDER.read_bytes()[:length])
    with pytest.raises(UserError) as caught:
        read_torch_networks(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_changed_bytes_end_in_a_message_or_in_networks(tmp_path):
    path, whole = tmp_path / "changed.pkl", OLDER.read_bytes()
    draw, messages = np.random.default_rng(0), 0
    for _ in range(40):
        changed = bytearray(whole)
        for position in draw.integers(0, 30_000, 3):
            changed[position] = draw.integers(256)
        path.write_bytes(changed)
        try:
            read_torch_networks(path)
        except UserError as error:
            messages += "\n" not in str(error)
        else:
            messages += 1
    assert messages == 40


def test_a_dictionary_of_weights_is_refused(tmp_path, torch_modules):  # noqa: F811
    path = tmp_path / "state.pkl"
    path.write_bytes(plain_pickle({"G": {"weight": 1}}))
    with pytest.raises(UserError, match="dictionary of weights.*pickles whole networks"):
        read_torch_networks(path)


def test_strides_cannot_make_much_of_little(tmp_path, torch_modules):  # noqa: F811
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), [2**40], [0])
    path = tmp_path / "huge.pkl"
    path.write_bytes(plain_pickle({"G": Module("Generator", {"w": np.zeros(1, np.float32)})}))
    whole = path.read_bytes()
    assert huge.size == 2**40
    size = pickle.dumps((1,), 4)[11:-2]  # K\x01\x85: the size (1,) and the stride (1,)
    assert whole.count(size) >= 2
    changed = whole.replace(size, b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85", 1)
    changed = changed.replace(size, b"K\x00\x85", 1)
    # The frame's length is that of a file that is 6 bytes shorter; pickletools does not mind.
    path.write_bytes(changed)
    tracemalloc.start()
    with pytest.raises(UserError):
        read_torch_networks(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_modules_within_modules_without_end(tmp_path, torch_modules):  # noqa: F811
    part = Module("Layer")
    for _ in range(18):
        part = Module("Layer", None, {"a": part, "b": part})
    path = tmp_path / "deep.pkl"
    path.write_bytes(plain_pickle({"G": part}))
    with pytest.raises(UserError, match="far more than a network has"):
        read_torch_networks(path)
