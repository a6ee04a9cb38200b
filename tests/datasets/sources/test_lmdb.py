"""LMDB databases: as their own program wrote them, damaged, and in layouts of others."""

import contextlib
import hashlib
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from datasets.sources.lmdb import LmdbDatabase
from dnnlib.errors import UserError
from dnnlib.image_files import ImageError, decode
from tests.datasets.conftest import ROOT
from tests.datasets.sources.conftest import LMDB, images_of


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


def write_database(path, values, **options):
    lmdb = pytest.importorskip("lmdb")
    with (
        lmdb.open(str(path), map_size=1 << 26, lock=False, **options) as database,
        database.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key, value)


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_databases_that_the_lmdb_package_writes(tmp_path, count):
    """Values of every size, from within a page to many pages: the same keys and bytes."""
    random = np.random.RandomState(count)
    values = {
        b"%06d" % random.randint(10**6): random.bytes(random.choice([0, 1, 50, 1900, 5000, 20000]))
        for _ in range(count)
    }
    write_database(tmp_path / "db", values)
    source = LmdbDatabase(tmp_path / "db")
    found = {item.name.encode(): item.content.read() for item in source.items()}
    assert found == values and source.count == len(values)
    assert list(found) == sorted(values)


def png(value, size):
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def test_a_database_with_several_sizes_of_each_image(tmp_path):
    """Rosinality's layout: keys such as 32-00000, and `length`."""
    values = {
        f"{size}-{number:05d}".encode(): png(number, size)
        for size in (8, 16, 32, 128)
        for number in range(5)
    }
    write_database(tmp_path / "db", {**values, b"length": b"5"})
    source = LmdbDatabase(tmp_path / "db")
    items = list(source.items())
    assert [item.name for item in items] == [f"128-{n:05d}" for n in range(5)]
    assert source.count == 5
    assert "several sizes (8, 16, 32, 128); the largest of each is read" in source.remarks[0]
    write_database(
        tmp_path / "one", {b"8-00000": png(1, 8), b"8-00001": png(2, 8), b"length": b"2"}
    )
    source = LmdbDatabase(tmp_path / "one")
    assert source.count == 2 and len(list(source.items())) == 2 and not source.remarks


@pytest.mark.parametrize("length", [{b"length": b"5"}, {}])
def test_sizes_that_are_not_there_of_each_image_and_other_keys(tmp_path, length):
    values = {f"16-{number:05d}".encode(): png(number, 16) for number in range(5)}
    values |= {f"32-{number:05d}".encode(): png(number, 32) for number in range(3)}
    write_database(tmp_path / "db", {**values, **length, b"about": b"text"})
    source = LmdbDatabase(tmp_path / "db")
    names = ["16-00003", "16-00004", "32-00000", "32-00001", "32-00002", "about"]
    assert [item.name for item in source.items()] == names and source.count == 6


def test_keys_of_classes_and_numbers_are_no_sizes(tmp_path):
    write_database(tmp_path / "db", {f"{n + 1}-0000{n % 2}".encode(): png(n, 8) for n in range(5)})
    source = LmdbDatabase(tmp_path / "db")
    assert source.count == len(list(source.items())) == 5 and not source.remarks


def test_keys_that_only_look_like_sizes(tmp_path):
    values = {b"8-00000": png(1, 8), b"16-00000": png(2, 8), b"other": png(3, 8)}
    write_database(tmp_path / "db", values)
    assert LmdbDatabase(tmp_path / "db").count == 3


def test_damage_anywhere_is_one_line_and_never_the_end_of_the_process(tmp_path):
    whole = (LMDB / "data.mdb").read_bytes()
    random = np.random.RandomState(0)
    for trial in range(200):
        content = bytearray(whole)
        if trial % 3 == 0:
            content = content[: random.randint(8192, len(whole))]
        else:
            page = random.randint(2, len(whole) // 4096) * 4096 if trial % 3 == 1 else 0
            for place in random.randint(0, 64, 8):
                content[page + place] = random.randint(256)
        (tmp_path / "data.mdb").write_bytes(bytes(content))
        try:
            for item in LmdbDatabase(tmp_path).items():
                with contextlib.suppress(ImageError):
                    item.content.load()
        except UserError as error:
            assert "data.mdb" in str(error)


def test_a_database_in_a_folder_that_cannot_be_written(tmp_path):
    shutil.copy(LMDB / "data.mdb", tmp_path / "data.mdb")
    (tmp_path / "data.mdb").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(list(LmdbDatabase(tmp_path).items())) == 100
        assert os.listdir(tmp_path) == ["data.mdb"]  # no lock file
    finally:
        tmp_path.chmod(0o755)
