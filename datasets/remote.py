"""Data sets that lie elsewhere, such as gs://bucket/folder: copied here once, then read locally.

Training reads single images in random order; over a network each would be a request of its own.
"""

import contextlib
import hashlib
import importlib
import re
import shutil
from pathlib import Path

import tensorflow as tf

from datasets.manifest import MANIFEST_FILE
from datasets.shards import is_record_file
from dnnlib.cache import cache_directory
from dnnlib.errors import UserError
from dnnlib.files import atomic_file, lock
from dnnlib.progress import track

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")  # pathlib makes one slash of two
_COPY_BYTES = 1 << 24


def fetch_if_remote(directory: str | Path) -> Path:
    """Return a local directory with the data set: itself, or the copy of a remote one.

    The copy lies in $GANSFORMER_CACHE/data (by default ~/.cache/gansformer/data), under a name
    made of the files' names, lengths and times: a remote set that was changed is copied anew.
    """
    match = _URL.fullmatch(str(directory))
    if match is None or Path(directory).exists():
        return Path(directory)
    url = f"{match[1]}://{match[2].rstrip('/')}"
    if match[1] not in _readable_schemes():
        raise UserError(
            f"{url}: TensorFlow cannot read {match[1]}:// here; install the package that teaches "
            "it (tensorflow-io has s3://), or copy the data set to this machine"
        )
    try:
        names = sorted(filter(_belongs, tf.io.gfile.listdir(url)))
        states = {name: tf.io.gfile.stat(f"{url}/{name}") for name in names}
        return _copy(url, states)
    except tf.errors.OpError as error:
        raise UserError(
            f"{url}: cannot be read ({error.message}); check the address and your access to it"
        ) from error


def _readable_schemes() -> list[str]:
    with contextlib.suppress(ImportError):
        importlib.import_module("tensorflow_io")  # adds some when imported
    return tf.io.gfile.get_registered_schemes()


def _belongs(name: str) -> bool:
    return name == MANIFEST_FILE or is_record_file(name) or name.endswith("-rxx.labels")


def _copy(url: str, states: dict) -> Path:
    """Copy what is not here yet; several processes may come at once."""
    if not any(map(is_record_file, states)):
        raise UserError(f"{url}: no data set (*.tfrecords*) there; check the address")
    facts = [(name, state.length, state.mtime_nsec) for name, state in states.items()]
    digest = hashlib.sha256(repr((url, facts)).encode()).hexdigest()[:16]
    target = cache_directory("data") / f"{url.rpartition('/')[2]}-{digest}"
    target.mkdir(parents=True, exist_ok=True)
    with open(target / ".lock", "w") as file:
        lock(file, wait=True)
        missing = [name for name in states if not (target / name).exists()]
        needed = sum(states[name].length for name in missing)
        if needed > shutil.disk_usage(target).free:
            raise UserError(
                f"{url}: its copy needs {needed / 1e9:.1f} GB in {target}, which has not that "
                "much space; set GANSFORMER_CACHE to a directory on another disk"
            )
        for name in track(missing, label=f"copying {url}", unit="file"):
            _copy_file(f"{url}/{name}", target / name)
    return target


def _copy_file(source: str, target: Path) -> None:
    with tf.io.gfile.GFile(source, "rb") as remote, atomic_file(target) as file:
        while block := remote.read(_COPY_BYTES):
            file.write(block)
