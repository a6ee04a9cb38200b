"""Record files as a source."""

import numpy as np

import datasets
from tests.datasets.sources.conftest import images_of
from tests.datasets.test_dataset import IMAGES, LABELS, TINY


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
