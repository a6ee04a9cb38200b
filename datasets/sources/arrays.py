"""Images in arrays: .npy, .npz and HDF5 files."""

import functools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.sources.item import MOST_BYTES, Item
from datasets.sources.source import Source, file_identity
from dnnlib.archives import DAMAGE
from dnnlib.errors import UserError
from dnnlib.image_files import ImageError, remark_on_range

_IMAGE_KEYS = ("images", "image", "data", "x", "x_train", "imgs", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "y_train")
MOST_CLASSES = 10_000


@dataclass(frozen=True)
class ArrayRow:
    """One image of an array in a file."""

    path: str
    key: str  # "" in a .npy file
    row: int
    planar: bool  # [C, H, W], not [H, W, C]
    scale: float  # pixels = values * scale + offset
    offset: float

    def load(self, most_bytes: int = MOST_BYTES) -> np.ndarray:
        """Read the image as uint8 [H, W] or [H, W, C]."""
        try:
            pixels = np.asarray(open_arrays(self.path)[self.key][self.row])
        except UserError:
            raise
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
        fitting = {key: array for key in arrays if _may_be_images(array := arrays[key])}
        self._key = _choose(fitting, _IMAGE_KEYS)
        if self._key is None:
            found = ", ".join(f"{key or 'array'} {_shape(arrays[key])}" for key in arrays)
            raise UserError(
                f"{path}: no array of images [N, H, W, C] in it (found {found or 'nothing'})"
            )
        others = [key for key in fitting if key != self._key]
        if others:
            self.remarks.append(
                f"read: the array {self._key} {_shape(fitting[self._key])}; left aside: "
                + ", ".join(f"{key} {_shape(fitting[key])}" for key in others)
            )
        shape = fitting[self._key].shape
        self._check_single(shape)
        self._rows = shape[0]
        self._planar = len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)
        try:
            self._range = self._find_range(fitting[self._key])
            self._labels = self._read_labels(arrays)
        except UserError:
            raise
        except (*DAMAGE, OSError) as error:
            raise UserError(f"{path}: cannot be read as arrays ({error}); get it again") from error
        self.label_names = self._labels.names if self._labels else None

    @property
    def count(self) -> int:
        """How many images there are."""
        return self._rows

    def items(self) -> Iterator[Item]:
        """Yield all images, in their order in the array."""
        for row in range(self._rows):
            content = ArrayRow(str(self.path), self._key, row, self._planar, *self._range)
            yield Item(f"{row:08d}", content, self._labels and self._labels.row(row))

    def identity(self) -> str:
        """Return a digest of the size and the ends of the file."""
        return file_identity(self.path)

    def _check_single(self, shape: tuple[int, ...]) -> None:
        if len(shape) == 3 and shape[2] in (3, 4) and shape[0] > 4 and shape[1] > 4:
            raise UserError(
                f"{self.path}: an array {list(shape)} is one image, not several [N, H, W, C]; "
                f"store several, or this one as {[1, *shape]}"
            )
        if len(shape) == 3 and shape[0] in (3, 4):
            self.remarks.append(
                f"read as {shape[0]} grey images of {shape[2]}x{shape[1]}; if it is one image in "
                f"colour, store it as {[1, *shape]}"
            )

    def _find_range(self, images) -> tuple[float, float]:
        """Return (scale, offset) that bring values to 0..255: from 0..1, -1..1, 16 bits or as is.

        What floats mean is seen in a few images from all over the array.
        """
        kind = images.dtype.kind
        if kind == "b":
            return 255.0, 0.0
        if kind not in "iuf":
            raise UserError(
                f"{self.path}: an array of {images.dtype} holds no images; numbers are wanted"
            )
        if kind in "iu" and images.dtype.itemsize == 1:
            return 1.0, 0.0
        rows = sorted({row * len(images) // 16 for row in range(16)})
        sample = np.nan_to_num(np.stack([np.asarray(images[row], np.float32) for row in rows]))
        if kind == "f":
            if sample.max() > 1.5:
                self._remark_on_values(sample, 0, 255)
                return 1.0, 0.0
            lowest = -1 if sample.min() < -0.01 else 0
            if lowest and sample.min() > -0.5:
                self.remarks.append(
                    f"its values are from {sample.min():g} to {sample.max():g}; -1 is taken for "
                    "black (if 0 is, cut off what is below)"
                )
            self._remark_on_values(sample, lowest, 1)
            return (127.5, 127.5) if lowest else (255.0, 0.0)
        if images.dtype == np.uint16:
            remarks: list[str] = []
            remark_on_range(int(sample.max()), remarks)
            self.remarks += [f"its images seem to have {remark}" for remark in remarks]
            return 255 / 65535, 0.0
        self._remark_on_values(sample, 0, 255)
        return 1.0, 0.0

    def _remark_on_values(self, sample: np.ndarray, lowest: float, highest: float) -> None:
        """Add a remark where values lie outside of what becomes black and white."""
        if sample.min() < lowest - 0.01 or sample.max() > highest + 0.01:
            self.remarks.append(
                f"its values are from {sample.min():g} to {sample.max():g}; those outside of "
                f"{lowest} to {highest} are cut off"
            )

    def _read_labels(self, arrays: Mapping) -> "_Labels | None":
        """Return the labels, one-hot vectors of class numbers and words; None if there are none."""
        for key in arrays:
            if key.split("/")[-1].lower() not in _LABEL_KEYS or key == self._key:
                continue
            array = arrays[key]
            if array is not None and array.shape[:1] != (self._rows,):
                self.remarks.append(
                    f"its {key} {_shape(array)} are not as many as its images; they are left aside"
                )
                continue
            labels = None if array is None else _to_labels(np.asarray(array))
            if labels is None:
                self.remarks.append(
                    f"its {key} are no labels ({_shape(array)} with too many classes, or no "
                    "numbers or words); they are left aside"
                )
            return labels
        return None


class _Labels:
    """Labels of images by row; memory grows with the images, not with the classes."""

    def __init__(self, names: list[str], values: np.ndarray):
        self.names = names
        self._values = values  # [N] class numbers, -1: none; or [N, label_dim] numbers

    def row(self, row: int) -> np.ndarray | None:
        """Return the label [label_dim] float32 of an image; None if it is not labelled."""
        if self._values.ndim == 2:
            return self._values[row] if np.isfinite(self._values[row]).all() else None
        if self._values[row] < 0:
            return None
        label = np.zeros(len(self.names), np.float32)
        label[self._values[row]] = 1
        return label


def _to_labels(values: np.ndarray) -> _Labels | None:
    values = values.reshape(len(values), -1)
    if values.dtype.kind == "O" and all(isinstance(v, (str, bytes)) for v in values.flat):
        values = np.array([[v.decode() if isinstance(v, bytes) else v for v in r] for r in values])
    single, kind = values.shape[1] == 1, values.dtype.kind
    if single and kind in "iu" and values.min() >= 0 and values.max() < MOST_CLASSES:
        names = [f"label{number}" for number in range(int(values.max()) + 1)]
        return _Labels(names, values[:, 0].astype(np.int64))
    if single and kind in "iuUS":
        words = np.char.strip(values[:, 0]) if kind in "US" else values[:, 0]
        known, numbers = np.unique(words, return_inverse=True)
        numbers = numbers.reshape(-1)
        texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in known]
        if not texts[0]:  # a blank, which says "not labelled", is sorted first
            texts, numbers = texts[1:], numbers - 1
        if len(texts) <= MOST_CLASSES:
            return _Labels([f"label={text}" for text in texts], numbers)
        return None
    if kind not in "biuf" or values.shape[1] > MOST_CLASSES:
        return None
    names = [f"label{number}" for number in range(values.shape[1])]
    with np.errstate(over="ignore"):  # infinite then, and so no label
        return _Labels(names, values.astype(np.float32))


@functools.lru_cache(maxsize=2)
def open_arrays(path: str) -> Mapping:
    """Return the arrays of a file by name, without reading them as far as the format allows.

    In place of an array of Python objects, which are never unpickled, there is None.
    """
    try:
        if is_hdf5(Path(path)):
            return _open_hdf5(path)
        if zipfile.is_zipfile(path):
            return _PackedArrays(path)
        return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
    except UserError:
        raise
    except (*DAMAGE, OSError) as error:
        raise UserError(f"{path}: cannot be read as arrays ({error}); get it again") from error


class _PackedArrays(Mapping):
    """The arrays of an .npz file; each is read as a whole, when it is asked for."""

    def __init__(self, path: str):
        self._path = path
        self._read: dict[str, np.ndarray | None] = {}
        with np.load(path, allow_pickle=False) as arrays:
            self._names = list(arrays.files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> np.ndarray | None:
        if name not in self._read:
            try:
                with np.load(self._path, allow_pickle=False) as arrays:
                    array = arrays[name]  # bytes, where a file of the archive is no .npy
                self._read[name] = array if isinstance(array, np.ndarray) else None
            except (*DAMAGE, OSError) as error:
                if "allow_pickle" not in str(error):
                    raise UserError(
                        f"{self._path}: {name} cannot be read ({error}); get it again"
                    ) from error
                self._read[name] = None
        return self._read[name]


def is_array_file(path: Path) -> bool:
    """Say whether a file is .npy, .npz or HDF5, by its content."""
    if is_hdf5(path):
        return True
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (*DAMAGE, NotImplementedError):
            return False  # which is said where it is read as an archive of images
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
    if array is None or 0 in array.shape:
        return False
    shape = array.shape
    return len(shape) == 3 or (len(shape) == 4 and (shape[3] <= 4 or shape[1] <= 4))


def _shape(array) -> str:
    return "of objects" if array is None else str(list(array.shape))


def _choose(arrays: dict, names: tuple[str, ...]) -> str | None:
    """Return the key with one of the usual names, or else that of the largest array."""
    for key in arrays:
        if key.split("/")[-1].lower() in names or key == "":
            return key
    return max(arrays, key=lambda key: arrays[key].size, default=None)
