"""Images in npy, npz and HDF5 files."""

import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import datasets
from datasets.labels.choosing import choose_labeller
from datasets.sources.arrays import open_arrays
from datasets.sources.recognition import open_source
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


def test_labels_of_words_and_of_large_numbers(tmp_path):
    """Also where they are not asked for, they must not be in the way."""
    images = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "words.npz", images=images, labels=np.array(["cat", "dog"] * 3))
    _, labels = images_of(tmp_path / "words.npz", tmp_path / "words", labels="stored")
    assert datasets.open_dataset(tmp_path / "words").label_names == ["label=cat", "label=dog"]
    np.testing.assert_array_equal(labels, np.eye(2)[[0, 1] * 3])
    numbers = np.array([0, 1, 2, 3, 4, 2_000_000])
    np.savez(tmp_path / "large.npz", images=images, labels=numbers)
    _, labels = images_of(tmp_path / "large.npz", tmp_path / "large", labels="stored")
    assert datasets.open_dataset(tmp_path / "large").label_names[-1] == "label=2000000"
    np.testing.assert_array_equal(labels, np.eye(6))
    for name, labels in {
        "objects": np.array([None, {}] * 3, dtype=object),
        "fewer": np.arange(5),
        "ids": np.arange(6)[:, None] + np.zeros([6, 20_000], np.int64),
        "complex": np.ones(6, complex),
        "records": np.zeros(6, [("a", "f4"), ("b", "i4")]),
    }.items():
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
        source = open_source(str(tmp_path / f"{name}.npz"), tmp_path)
        assert len(list(source.items())) == 6 and source.remarks[0].startswith("its labels ")
        with pytest.raises(UserError, match="no labels of its own"):
            choose_labeller("stored", source)


def test_memory_of_stored_labels(tmp_path):
    """9,000 classes of 5,000 images: no table of them all."""
    np.savez(
        tmp_path / "a.npz", images=np.zeros((5000, 1, 1), np.uint8), labels=np.arange(5000) + 4000
    )
    tracemalloc.start()
    source = open_source(str(tmp_path / "a.npz"), tmp_path)
    item = next(source.items())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert item.label.argmax() == 4000 and len(item.label) == 9000 and peak < 10e6


@pytest.mark.parametrize("shape", [(64, 48, 3), (64, 48, 4)])
def test_one_image_is_not_many_grey_ones(tmp_path, shape):
    np.save(tmp_path / "one.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=r"is one image.*this one as \[1, 64, 48"):
        open_source(str(tmp_path / "one.npy"), tmp_path)
    np.save(tmp_path / "planes.npy", np.zeros((3, 64, 48), np.uint8))
    source = open_source(str(tmp_path / "planes.npy"), tmp_path)
    assert source.count == 3 and "read as 3 grey images of 48x64" in source.remarks[0]


def test_what_else_a_file_holds_is_said(tmp_path):
    train, test = np.zeros((5, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=train, x_test=test, y_train=np.arange(5))
    source = open_source(str(tmp_path / "a.npz"), tmp_path)
    assert source.count == 5 and source.label_names == [f"label{n}" for n in range(5)]
    assert source.remarks == [
        "read: the array x_train [5, 8, 8, 3]; left aside: x_test [2, 8, 8, 3]"
    ]
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:  # as ProGAN's CelebA-HQ
        for size in (4, 8, 16):
            file[f"data{size}x{size}"] = np.zeros((3, 3, size, size), np.uint8)
    source = open_source(str(tmp_path / "a.h5"), tmp_path)
    assert source.count == 3 and "read: the array data16x16" in source.remarks[0]


@pytest.mark.parametrize(("dtype", "largest", "words"), [
    ("uint16", 255, "values of 8 bits"), ("uint16", 4000, "values of 12 bits"),
    ("uint16", 60000, None), ("int32", 255, None), ("int32", 4000, "outside of 0 to 255 are"),
    ("int16", -9, "outside of 0 to 255 are"), ("float32", 2.6, None), ("float32", 300, "0 to 255"),
    ("float32", -0.1, "-1 is taken for black"), ("float32", -2.1, "outside of -1 to 1 are cut off"),
    ("float32", -1, None),
])  # fmt: skip
def test_values_of_an_unlikely_range_are_told(tmp_path, dtype, largest, words):
    values = np.zeros((3, 8, 8), dtype)
    values[1, 2, 3] = largest
    np.save(tmp_path / "a.npy", values)
    remarks = open_source(str(tmp_path / "a.npy"), tmp_path).remarks
    assert (words in remarks[-1]) if words else all("values" not in each for each in remarks)


def test_stored_labels_that_say_nothing(tmp_path):
    """Blank words and numbers that are none: not labelled."""
    images = np.zeros((4, 8, 8, 3), np.uint8)
    for labels, wanted in (
        (np.array(["b", "", "a", " "]), [[0, 1], None, [1, 0], None]),
        (np.array([0.5, np.nan, np.inf, 1e300]), [[0.5], None, None, None]),
        (np.array([[1, np.nan], [1, 2], [3, 4], [5, 6]]), [None, [1, 2], [3, 4], [5, 6]]),
    ):
        np.savez(tmp_path / "a.npz", images=images, labels=labels)
        open_arrays.cache_clear()
        source = open_source(str(tmp_path / "a.npz"), tmp_path)
        found = [None if item.label is None else item.label.tolist() for item in source.items()]
        assert found == wanted


def test_files_of_an_npz_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(UserError, match="no array of images"):
        open_source(str(tmp_path / "a.npz"), tmp_path)


@pytest.mark.parametrize("damaged", ["images", "labels"])
def test_a_damaged_hdf5_file(tmp_path, damaged):
    """Also what is looked at before the work: the range of images, the labels."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, shape in (("images", (9, 8, 8)), ("labels", (9, 5))):
            values = np.random.RandomState(0).rand(*shape)
            file.create_dataset(name, data=values, compression="gzip", chunks=shape)
        place = file[damaged].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[place + 20 : place + 40] = bytes(20)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as arrays"):
        open_source(str(tmp_path / "a.h5"), tmp_path)
