"""Images in npy, npz and HDF5 files."""

import sys

import numpy as np
import pytest

from datasets.sources.opening import open_source
from dnnlib.errors import UserError
from tests.datasets.sources.conftest import images_of

FORMS = {
    "bytes": lambda x: x,
    "planar": lambda x: x.transpose(0, 3, 1, 2),
    "unit": lambda x: (x / 255).astype(np.float32),
    "signed": lambda x: (x / 127.5 - 1).astype(np.float32),
    "floats": lambda x: x.astype(np.float64),
    "sixteen": lambda x: x.astype(np.uint16) * 257,
    "numbers": lambda x: x.astype(np.int64),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_arrays(stack, tmp_path, form, kind):
    array = FORMS[form](stack)
    path = tmp_path / f"file.{kind}"
    if kind == "npy":
        np.save(path, array)
    elif kind == "npz":
        np.savez_compressed(path, images=array, labels=np.arange(24) % 3)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["group/small"] = array[:, :2, :2] if form != "planar" else array[:, :, :2, :2]
            file["group/big"] = array
    wanted = "stored" if kind == "npz" else None
    images, labels = images_of(path, tmp_path / "set", resolution=64, labels=wanted)
    assert np.abs(images.astype(int) - stack).max() <= (1 if form == "sixteen" else 0)
    if wanted:
        np.testing.assert_array_equal(labels, np.eye(3)[np.arange(24) % 3])


def test_grey_arrays(stack, tmp_path):
    np.save(tmp_path / "a.npy", stack[:, :, :, 1])
    images, _ = images_of(tmp_path / "a.npy", tmp_path / "set", resolution=64)
    np.testing.assert_array_equal(images, stack[:, :, :, 1:2].repeat(3, axis=3))


def test_arrays_that_hold_no_pictures(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((5, 7)))
    np.save(tmp_path / "words.npy", np.full((5, 7, 7), "word"))
    np.save(tmp_path / "objects.npy", np.array([None, {}]), allow_pickle=True)
    np.savez(tmp_path / "none.npz", a=np.zeros(3))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:90])
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    for name in ("flat.npy", "words.npy", "objects.npy", "none.npz", "cut.npy", "cut.h5"):
        with pytest.raises(UserError, match=name.split(".")[0]):
            open_source(str(tmp_path / name), tmp_path)


def test_hdf5_without_its_package(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py"):
        open_source(str(tmp_path / "a.h5"), tmp_path)
