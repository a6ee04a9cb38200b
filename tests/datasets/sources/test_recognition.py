"""What a source is, where it could be several things."""

import shutil

import numpy as np
import pytest
from PIL import Image

from datasets.sources.recognition import open_source
from dnnlib.errors import UserError
from tests.datasets.conftest import expect, prepare_data
from tests.datasets.sources.conftest import LMDB, images_of
from tests.datasets.test_dataset import TINY


@pytest.mark.parametrize("kind", ["zip", "gztar"])
@pytest.mark.parametrize("inside", ["records", "lmdb"])
def test_data_sets_inside_archives(tmp_path, kind, inside):
    """As clevr.zip of the GANformer authors and bedroom_train_lmdb.zip of LSUN are published."""
    shutil.copytree(TINY if inside == "records" else LMDB, tmp_path / "in" / "bedroom_lmdb")
    archive = shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "in")
    images, _ = images_of(archive, tmp_path / "set")
    assert len(images) == (10 if inside == "records" else 100)
    assert not (tmp_path / "set" / ".unfinished").exists()
    again = prepare_data(archive, "--out", tmp_path / "set", "--resolution", 16)
    assert again.returncode == 0 and "already there" in again.stdout


def write_images(folder, count=6, size=16, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(seed)
    for number in range(count):
        pixels = random.randint(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"img{number}.png")


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path / "p")
    return tmp_path / "p"


def test_a_stray_record_file_among_images_is_for_the_user_to_say(images, tmp_path):
    shutil.copy(next(TINY.glob("tiny-r04.tfrecords1of3")), images)  # one of three
    out = tmp_path / "set"
    expect(
        prepare_data(images, "--out", out), "records and 6 images", "--as records or --as images"
    )
    assert not out.exists()
    done = prepare_data(images, "--out", out, "--as", "images", "--resolution", 16)
    assert "prepared: 6 images" in done.stdout
    assert "left aside: 1 record files" in done.stdout and "tiny-r04.tfrecords1of3" in done.stdout
    expect(prepare_data(images, "--out", tmp_path / "r", "--as", "records"), "2 of 3 record files")
    for path in TINY.glob("tiny-r04*"):
        shutil.copy(path, images)
    done = prepare_data(images, "--out", tmp_path / "r", "--as", "records", "--resolution", 16)
    assert "prepared: 10 images" in done.stdout


def test_a_database_among_images_is_for_the_user_to_say(images, tmp_path):
    shutil.copy(LMDB / "data.mdb", images)
    expect(prepare_data(images, "--out", tmp_path / "set"), "lmdb and 6 images", "--as lmdb")
    for kind, count in {"lmdb": 100, "images": 6}.items():
        done = prepare_data(images, "--out", tmp_path / kind, "--as", kind, "--resolution", 4)
        assert f"prepared: {count} images" in done.stdout
    expect(prepare_data(images, "--out", tmp_path / "x", "--as", "records"), "holds no records")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_record_files_among_images_in_an_archive(images, tmp_path, kind):
    for path in TINY.glob("tiny-r04*"):
        shutil.copy(path, images)
    archive = shutil.make_archive(str(tmp_path / "a"), kind, images)
    expect(prepare_data(archive, "--out", tmp_path / "set"), "records and 6 images")
    for name, count in {"records": 10, "images": 6}.items():
        done = prepare_data(archive, "--out", tmp_path / name, "--as", name, "--resolution", 16)
        assert f"prepared: {count} images" in done.stdout


def test_archives_with_several_data_sets_say_which_is_read(tmp_path):
    shutil.copytree(TINY, tmp_path / "in" / "a")
    shutil.copytree(LMDB, tmp_path / "in" / "b")
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "in")
    expect(prepare_data(archive, "--out", tmp_path / "set"), "lmdb and records", "--as lmdb")
    (tmp_path / "work").mkdir()
    shutil.copytree(TINY, tmp_path / "in" / "c")
    archive = shutil.make_archive(str(tmp_path / "c"), "zip", tmp_path / "in")
    source = open_source(archive, tmp_path / "work", read_as="records")
    assert source.count == 10 and source.remarks[-1] == "read: a of the archive; left aside: c"


def test_a_data_set_made_inside_its_source(images, tmp_path):
    """--out in SOURCE, beside other data sets there, and SOURCE itself: the same every time."""
    for out, resolution in ((images / "set", 16), (images / "set32", 32), (images, 16)):
        for said in ("prepared", "already there", "already there"):
            done = prepare_data(images, "--out", out, "--resolution", resolution)
            assert done.returncode == 0 and f"{said}: 6 images" in done.stdout, done
            assert "skipped" not in done.stdout


@pytest.mark.parametrize("path", ["/dev/null"])
def test_what_is_no_file(path, tmp_path):
    with pytest.raises(UserError, match="no folder and no file"):
        open_source(path, tmp_path)
