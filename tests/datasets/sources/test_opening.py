"""Which kind of source it is."""

import shutil

import pytest

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
