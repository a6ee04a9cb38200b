"""Cache of features and statistics of real images, keyed by all that they depend on.

An entry is an npz file; its `description` is the key as readable JSON. As the key has digests of
the content of the data set and of the network, an entry cannot go stale.
"""

import hashlib
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.files import atomic_file
from metrics.extraction import Gaussian

FORMAT = 1  # of the entries, and of how images become features


def load_entry(directory: Path, key: dict[str, Any]) -> tuple[Gaussian | np.ndarray, str] | None:
    """Return (what is stored under `key`, the date it was made), or None."""
    path = entry_path(directory, key)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            made = json.loads(str(arrays["description"]))["made"]
            if "features" in arrays:
                return arrays["features"], made
            count = int(arrays["count"])
            return Gaussian(arrays["mu"], arrays["sigma"], count), made
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # damaged: it is made again and replaced


def save_entry(directory: Path, key: dict[str, Any], value: Gaussian | np.ndarray) -> None:
    """Store `value` under `key`. `mu` and `sigma` have the names that other programs read."""
    made = time.strftime("%Y-%m-%d %H:%M:%S")
    description = np.array(json.dumps({**key, "format": FORMAT, "made": made}))
    if isinstance(value, Gaussian):
        arrays = {"mu": value.mean, "sigma": value.covariance, "count": np.array(value.count)}
    else:
        arrays = {"features": value}
    with atomic_file(entry_path(directory, key)) as file:
        np.savez(file, description=description, **arrays)


def entry_path(directory: Path, key: dict[str, Any]) -> Path:
    """Return where an entry lies. The data's name is no part of the key: its digest is."""
    text = json.dumps({**key, "data": None, "format": FORMAT}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return Path(directory) / f"{key['network']}-{key['form']}-{digest}.npz"
