"""LMDB databases: as their own program wrote them, damaged, and in layouts of others."""

import hashlib

import pytest

from datasets.sources.lmdb import LmdbDatabase
from dnnlib.errors import UserError
from dnnlib.image_files import decode
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
