"""Files of w: what images are made from, after mapping and truncation, as `.npz`.

`w` [N, K, L, w_dim] float32; `seeds` [N] int64, of the noise; `noise` [N, M] float32, only where it
is no function of the seed (projections); `network`: which weights it was made with.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from dnnlib.errors import MissingFile, UserError
from dnnlib.files import atomic_file
from dnnlib.numbers import LARGEST_SEED
from gansformer.generator import Generator
from gansformer.variables import variables_by_name


class StoredW(NamedTuple):
    """What a file of w holds; is_same_network: whether it was made with the same weights."""

    w: np.ndarray
    seeds: list[int]
    noise: np.ndarray | None
    is_same_network: bool


def save_w(
    path: Path,
    generator: Generator,
    w: np.ndarray,
    seeds: Sequence[int],
    noise: np.ndarray | None = None,
) -> None:
    """Write w [N, K, L, w_dim] of a generator, atomically."""
    with write_w(path, generator, seeds, noise) as append:
        append(w)


@contextmanager
def write_w(
    path: Path, generator: Generator, seeds: Sequence[int], noise: np.ndarray | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends some of the w [.., K, L, w_dim] of all seeds.

    Memory does not grow with their number. The file is there when the block ends without an error.
    """
    with atomic_file(path) as file, write_w_into(file, generator, seeds, noise) as append:
        yield append


@contextmanager
def write_w_into(
    file: BinaryIO, generator: Generator, seeds: Sequence[int], noise: np.ndarray | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """As write_w, into an open file."""
    config = generator.config
    shape = (len(seeds), config.latents, generator.layers, config.component_dim)
    arrays = {"seeds": np.asarray(seeds, np.int64), "network": np.array(network_digest(generator))}
    if noise is not None:
        arrays["noise"] = np.asarray(noise, np.float32)
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        with archive.open("w.npy", "w", force_zip64=True) as entry:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(entry, header)
            yield lambda w: entry.write(np.ascontiguousarray(w, "<f4").tobytes())


def load_w(path: Path, generator: Generator) -> StoredW:
    """Read a file of w for a generator.

    Raises UserError if it is none, or belongs to a network of other sizes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = dict(file)
        w = np.asarray(stored["w"], np.float32)
        seeds = [int(seed) for seed in stored.get("seeds", np.zeros(len(w)))]
    except FileNotFoundError:
        raise MissingFile(f"--w {path}: no such file; generate.py --save-w writes one") from None
    except Exception as error:  # zipfile, NumPy and a missing array each have their own errors
        raise UserError(
            f"--w {path}: is no file of w ({error}); generate.py --save-w writes one"
        ) from error
    config = generator.config
    sizes = (config.latents, generator.layers, config.component_dim)
    if w.ndim != 4 or not len(w) or w.shape[1:] != sizes:
        raise UserError(
            f"--w {path}: holds w of shape {list(w.shape)}; this model needs [N, "
            f"{', '.join(map(str, sizes))}]: give the model that it was made with"
        )
    if not np.isfinite(w).all() or len(seeds) != len(w) or min(seeds) < 0:
        raise UserError(f"--w {path}: is damaged (values or seeds); make it again")
    noise = stored.get("noise")
    if noise is not None and noise.shape != (len(w), generator.synthesis_network.noise_size):
        raise UserError(f"--w {path}: its noise is of another model")
    same = str(stored.get("network", "")) == network_digest(generator)
    return StoredW(w, [seed & LARGEST_SEED for seed in seeds], noise, same)


def network_digest(generator: Generator) -> str:
    """Return what tells the weights of one generator from those of another."""
    digest = hashlib.sha256()
    for name, variable in sorted(variables_by_name(generator).items()):
        digest.update(name.encode() + variable.numpy().tobytes())
    return digest.hexdigest()[:16]
