"""Sources that are no folders of pictures: LMDB, arrays, record files, TensorFlow Datasets."""

import hashlib
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from datasets.sources.lmdb import LmdbDatabase
from datasets.sources.opening import open_source
from dnnlib.errors import UserError
from dnnlib.image_files import decode
from tests.datasets.conftest import ROOT
from tests.datasets.test_reading import IMAGES, LABELS, TINY

LMDB = Path(__file__).parent / "files" / "small_lmdb"  # written by the lmdb package


def images_of(source, out, *, resolution=16, labels=None, workers=1):
    choices = Preparation(resolution=resolution)
    prepare(str(source), out, choices, Order(labels=labels), workers=workers)
    dataset = datasets.open_dataset(out)
    return dataset.read(range(dataset.count))


def test_lmdb_as_its_own_program_wrote_it(tmp_path):
    source = LmdbDatabase(LMDB)
    keys = {hashlib.sha1(str(number).encode()).hexdigest(): number for number in range(100)}
    items = list(source.items())
    assert source.count == 100 and [item.name for item in items] == sorted(keys)
    for item in items:
        number = keys[item.name]
        picture = decode(item.content.load())
        assert picture.size == ((60, 30) if number in (30, 60) else (2, 2))
        assert picture.getpixel((0, 0)) == (number, 255 - number, 7 * number % 256)
    images, _ = images_of(LMDB, tmp_path / "set", resolution=4, workers=2)
    for item, red in zip(items, images[:, 0, 0, 0], strict=True):
        assert keys[item.name] in (red, 30, 60)  # the two large ones are partly noise


@pytest.mark.parametrize("damage", range(6))
def test_damaged_lmdb(tmp_path, damage):
    whole = (LMDB / "data.mdb").read_bytes()
    content = {
        0: whole[:100],
        1: whole[:5000],
        2: whole[:40000],
        3: bytes(16) + whole[16:20] + bytes(8176) + whole[8192:],
        4: whole[:8192] + b"\xff" * (len(whole) - 8192),
        5: whole[:8192] + bytes(len(whole) - 8192),
    }[damage]
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(UserError, match="LMDB|no image that can be used"):
        images_of(tmp_path, tmp_path / "set")


LSUN = ROOT.parent / "shared" / "data" / "samples" / "lsun_layout_val_lmdb"


@pytest.mark.skipif(not LSUN.exists(), reason="no real photos in LSUN's layout on this machine")
def test_lsun_layout(tmp_path):
    images, _ = images_of(LSUN, tmp_path / "set", resolution=64)
    assert images.shape == (9, 64, 64, 3) and images.std() > 40


@pytest.fixture
def stack(pictures):
    paths = sorted(pictures.rglob("*.webp"))
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


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


def test_official_record_files_as_a_source(tmp_path):
    images, labels = images_of(TINY, tmp_path / "set", labels="stored", workers=2)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_own_data_set_as_a_source(prepared, tmp_path):
    expected, _ = datasets.open_dataset(prepared).read(range(24))
    images, _ = images_of(prepared, tmp_path / "copy")
    np.testing.assert_array_equal(images, expected)


def test_record_files_with_another_name_of_one_file(tmp_path):
    """NVIDIA's FFHQ comes as ffhq-r08.tfrecords, without "1of1"."""
    content = b"".join((TINY / f"tiny-r04.tfrecords{n}of3").read_bytes() for n in (1, 2, 3))
    (tmp_path / "ffhq-r04.tfrecords").write_bytes(content)
    dataset = datasets.open_dataset(tmp_path)
    assert dataset.count == 10
    order = [0, 3, 6, 9, 1, 4, 7, 2, 5, 8]
    np.testing.assert_array_equal(dataset.read(range(10))[0], IMAGES[order])


@pytest.mark.parametrize("kind", ["zip", "gztar"])
@pytest.mark.parametrize("inside", ["records", "lmdb"])
def test_data_sets_inside_archives(tmp_path, kind, inside):
    """As clevr.zip of the GANformer authors and bedroom_train_lmdb.zip of LSUN are published."""
    shutil.copytree(TINY if inside == "records" else LMDB, tmp_path / "in" / "bedroom_lmdb")
    archive = shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "in")
    images, _ = images_of(archive, tmp_path / "set")
    assert len(images) == (10 if inside == "records" else 100)
    assert not (tmp_path / "set" / ".unfinished").exists()


def fake_tfds(images, labels):
    class Features(dict):
        pass

    features = Features(image=None, label=types.SimpleNamespace(names=["cat", "dog"]))
    info = types.SimpleNamespace(
        features=features,
        splits={"train": types.SimpleNamespace(num_examples=len(images))},
        full_name="pets/1.0.0",
    )
    examples = [{"image": i, "label": label} for i, label in zip(images, labels, strict=True)]
    stream = types.SimpleNamespace(as_numpy_iterator=lambda: iter(examples))
    builder = types.SimpleNamespace(
        info=info,
        download_and_prepare=lambda: None,
        as_dataset=lambda split, shuffle_files: stream,
    )
    return types.SimpleNamespace(builder=lambda name: builder)


def test_tensorflow_datasets(stack, tmp_path, monkeypatch):
    """With a stand-in of the package, which is not installed here."""
    labels = np.arange(24) % 2
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake_tfds(stack, labels))
    images, found = images_of("tfds:pets", tmp_path / "set", resolution=64, labels="stored")
    np.testing.assert_array_equal(images, stack)
    np.testing.assert_array_equal(found, np.eye(2)[labels])
    assert datasets.open_dataset(tmp_path / "set").label_names == ["label=cat", "label=dog"]
    with pytest.raises(UserError, match='no split "test"'):
        open_source("tfds:pets:test", tmp_path)


def test_tensorflow_datasets_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match="pip install tensorflow-datasets"):
        open_source("tfds:mnist", tmp_path)
