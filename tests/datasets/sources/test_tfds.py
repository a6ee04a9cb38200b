"""TensorFlow Datasets, with a stand-in of its package."""

import sys
import types

import numpy as np
import pytest

import datasets
from datasets.sources.recognition import open_source
from dnnlib.errors import UserError
from tests.datasets.sources.conftest import images_of


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
