"""Data sets at an address: read through TensorFlow's file systems, here its ram://."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import datasets
from dnnlib.errors import UserError


@pytest.fixture
def remote(prepared, tmp_path, monkeypatch) -> str:
    """A data set in TensorFlow's memory file system, and an empty cache."""
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path / "cache"))
    url = f"ram://bucket/{tmp_path.name}/set"
    for path in prepared.iterdir():
        if path.is_file():
            tf.io.gfile.copy(str(path), f"{url}/{path.name}")
    return url


def copies(tmp_path) -> list[Path]:
    return sorted((tmp_path / "cache" / "data").glob("*/*.tfrecords*"))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_remote_data_set_is_the_local_one(remote, prepared, tmp_path, kind):
    here, there = datasets.open_dataset(prepared), datasets.open_dataset(kind(remote))
    np.testing.assert_array_equal(there.read(range(24))[0], here.read(range(24))[0])
    assert there.digest == here.digest and there.name == here.name
    batch = lambda dataset: next(iter(dataset.batches(8, seed=3)))[0].numpy()  # noqa: E731
    np.testing.assert_array_equal(batch(there), batch(here))
    assert [path.name for path in copies(tmp_path)] == sorted(
        path.name for path in prepared.glob("*.tfrecords*")
    )


def test_it_is_copied_once_and_anew_when_it_was_changed(remote, prepared, tmp_path, capsys):
    datasets.open_dataset(remote)
    assert "copying" in capsys.readouterr().err
    written = [path.stat().st_mtime_ns for path in copies(tmp_path)]
    datasets.open_dataset(remote)
    assert [path.stat().st_mtime_ns for path in copies(tmp_path)] == written
    copies(tmp_path)[0].unlink()  # as when copying was interrupted
    datasets.open_dataset(remote)
    assert len(copies(tmp_path)) == 3
    changed = next(prepared.glob("*.tfrecords1of3"))
    tf.io.gfile.remove(f"{remote}/{changed.name}")
    with pytest.raises(UserError, match="1 of 3 record files are missing"):
        datasets.open_dataset(remote)
    tf.io.gfile.copy(str(changed), f"{remote}/{changed.name}")
    datasets.open_dataset(remote)


def test_bad_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="ram://none: cannot be read .*check the address"):
        datasets.open_dataset("ram://none")
    with pytest.raises(UserError, match="xyz://b/set: TensorFlow cannot read xyz:// here"):
        datasets.open_dataset("xyz://b/set")
    tf.io.gfile.makedirs("ram://empty/x")
    with pytest.raises(UserError, match="ram://empty/x: no data set"):
        datasets.open_dataset("ram://empty/x")
    assert not (tmp_path / "cache").exists()


def test_no_space_for_the_copy(remote, tmp_path, monkeypatch):
    usage = lambda path: type("Usage", (), {"free": 10})()  # noqa: E731
    monkeypatch.setattr("datasets.remote.shutil.disk_usage", usage)
    with pytest.raises(UserError, match="set GANSFORMER_CACHE"):
        datasets.open_dataset(remote)
    assert not copies(tmp_path)
