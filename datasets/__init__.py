"""Data sets: from image files to TFRecord shards with a manifest, and from shards to batches.

`open_dataset` needs TensorFlow and imports it when called; everything that prepares data works
without, so that the worker processes of `prepare_data.py` start quickly.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets.dataset import Dataset

__all__ = ["open_dataset"]


def open_dataset(directory: str | Path, resolution: int | None = None) -> Dataset:
    """Open a prepared data set directory (ours or the official program's).

    directory: here, or an address that tf.io.gfile reads, such as gs://bucket/folder.
    resolution: which of the stored resolutions; the largest if None.
    """
    from datasets.dataset import Dataset
    from datasets.opening import open_records
    from datasets.remote import fetch_if_remote

    return Dataset(open_records(fetch_if_remote(directory), resolution))
