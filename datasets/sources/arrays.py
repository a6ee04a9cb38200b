"""Images in arrays: .npy, .npz and HDF5 files."""

import functools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.sources.item import Item
from datasets.sources.source import Source, file_identity
from dnnlib.errors import UserError
from dnnlib.image_files import ImageError

_IMAGE_KEYS = ("images", "image", "data", "x", "x_train", "imgs", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "y_train")


@dataclass(frozen=True)
class ArrayRow:
    """One image of an array in a file."""

    path: str
    key: str  # "" in a .npy file
    row: int
    planar: bool  # [C, H, W], not [H, W, C]
    scale: float  # pixels = values * scale + offset
    offset: float

    def load(self) -> np.ndarray:
        """Read the image as uint8 [H, W] or [H, W, C]."""
        try:
            pixels = np.asarray(open_arrays(self.path)[self.key][self.row])
        except (OSError, ValueError, RuntimeError) as error:
            raise ImageError(f"cannot be read ({error})") from error
        if self.planar:
            pixels = pixels.transpose(1, 2, 0)
        if pixels.dtype == np.uint8:
            return np.ascontiguousarray(pixels)
        values = pixels.astype(np.float32) * self.scale + self.offset
        if not np.isfinite(values).all():
            raise ImageError("has values that are not finite")
        return np.ascontiguousarray(np.rint(values).clip(0, 255).astype(np.uint8))


class ArrayFile(Source):
    """The first axis of an array [N, H, W], [N, H, W, C] or [N, C, H, W] counts the images."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.kind = "hdf5" if is_hdf5(path) else path.suffix.lstrip(".")
        arrays = open_arrays(str(path))
        self._key = _choose(arrays, _IMAGE_KEYS, _may_be_images)
        if self._key is None:
            found = ", ".join(f"{key or 'array'} {list(arrays[key].shape)}" for key in arrays)
            raise UserError(
                f"{path}: no array of images [N, H, W, C] in it (found {found or 'nothing'})"
            )
        shape = arrays[self._key].shape
        self._rows = shape[0]
        self._planar = len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)
        self._range = _find_range(path, arrays[self._key])
        self._labels = self._read_labels(arrays)

    @property
    def count(self) -> int:
        """How many images there are."""
        return self._rows

    def items(self) -> Iterator[Item]:
        """Yield all images, in their order in the array."""
        for row in range(self._rows):
            content = ArrayRow(str(self.path), self._key, row, self._planar, *self._range)
            label = None if self._labels is None else self._labels[row]
            yield Item(f"{row:08d}", content, label)

    def identity(self) -> str:
        """Return a digest of the size and the ends of the file."""
        return file_identity(self.path)

    def _read_labels(self, arrays: dict) -> np.ndarray | None:
        """Return [N, label_dim] float32; class numbers become one-hot vectors."""
        key = _choose(arrays, _LABEL_KEYS, lambda array: len(array) == self._rows)
        if key is None or key == self._key:
            return None
        labels = np.asarray(arrays[key]).reshape(self._rows, -1)
        if labels.shape[1] == 1 and np.issubdtype(labels.dtype, np.integer) and labels.min() >= 0:
            labels = np.eye(labels.max() + 1)[labels[:, 0]]
        self.label_names = [f"label{number}" for number in range(labels.shape[1])]
        return labels.astype(np.float32)


def _find_range(path: Path, images) -> tuple[float, float]:
    """Return (scale, offset) that bring values to 0..255: from 0..1, -1..1, 16 bits or as they are.

    What floats mean is seen in a few images from all over the array.
    """
    kind = images.dtype.kind
    if kind == "b":
        return 255.0, 0.0
    if kind in "iu":
        return (255 / 65535, 0.0) if images.dtype == np.uint16 else (1.0, 0.0)
    if kind != "f":
        raise UserError(f"{path}: an array of {images.dtype} holds no images; numbers are wanted")
    rows = sorted({row * len(images) // 16 for row in range(16)})
    sample = np.nan_to_num(np.stack([np.asarray(images[row], np.float32) for row in rows]))
    if sample.max() > 1.5:
        return 1.0, 0.0
    return (127.5, 127.5) if sample.min() < -0.01 else (255.0, 0.0)


@functools.lru_cache(maxsize=2)
def open_arrays(path: str) -> dict:
    """Return the arrays of a file by name, without reading them as far as the format allows."""
    try:
        if is_hdf5(Path(path)):
            return _open_hdf5(path)
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}  # packed: read as a whole
        return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as arrays ({error}); get it again") from error


def is_array_file(path: Path) -> bool:
    """Say whether a file is .npy, .npz or HDF5, by its content."""
    if is_hdf5(path):
        return True
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return bool(names) and all(name.endswith(".npy") for name in names)
    with open(path, "rb") as file:
        return file.read(6) == b"\x93NUMPY"


def is_hdf5(path: Path) -> bool:
    """Say whether a file is HDF5."""
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _open_hdf5(path: str) -> dict:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path}: an HDF5 file; reading it needs: pip install h5py") from error
    arrays = {}

    def note(name: str, entry) -> None:
        if isinstance(entry, h5py.Dataset) and entry.ndim:
            arrays[name] = entry

    h5py.File(path, "r").visititems(note)
    return arrays


def _may_be_images(array) -> bool:
    shape = array.shape
    if 0 in shape:
        return False
    return len(shape) == 3 or (len(shape) == 4 and (shape[3] <= 4 or shape[1] <= 4))


def _choose(arrays: dict, names: tuple[str, ...], fits) -> str | None:
    """Return the key with one of the usual names; for images else the largest that fits."""
    for key in arrays:
        last = key.split("/")[-1].lower()
        if (last in names or key == "") and fits(arrays[key]):
            return key
    fitting = [key for key in arrays if fits(arrays[key])]
    if names is _IMAGE_KEYS and fitting:
        return max(fitting, key=lambda key: arrays[key].size)
    return None
