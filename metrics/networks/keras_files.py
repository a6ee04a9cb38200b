"""Reads Keras' HDF5 files of weights, without building a Keras model."""

from pathlib import Path

import h5py
import numpy as np

from dnnlib.errors import UserError


def read_layers(path: str | Path) -> dict[str, tuple[np.ndarray, ...]]:
    """Return the arrays of each layer by its name, in Keras' order (kernel, bias).

    Takes files of weights alone, as published with keras.applications, and of whole models.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            return {
                _text(layer): tuple(
                    np.asarray(group[_text(layer)][_text(name)])
                    for name in group[_text(layer)].attrs["weight_names"]
                )
                for layer in group.attrs["layer_names"]
            }
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise UserError(
            f"{path}: not an HDF5 file of Keras weights, or a damaged one; fetch it again"
        ) from None


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
