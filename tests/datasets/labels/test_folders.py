"""Labels from the folders that images lie in."""

from tests.datasets.labels.conftest import labels_of


def test_folders(pictures, tmp_path):
    dataset, labels = labels_of(pictures, tmp_path / "set", "folders")
    assert dataset.label_names == ["deeper", "first"]
    assert dataset.count == 16  # those in the outermost folder have no class
    assert labels.argmax(1).tolist() == [1] * 8 + [0] * 8
