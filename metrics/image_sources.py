"""Images to compare: folders of image files, npz files of images, stored statistics."""

import functools
import hashlib
import itertools
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dnnlib.errors import MissingFile, UserError
from dnnlib.image_files import (
    HEAD_BYTES,
    ImageError,
    convert,
    decode,
    most_bytes_for,
    require_image,
)
from dnnlib.image_folders import LeftAside, reason_to_leave_aside, walk
from metrics.extraction import Gaussian


class ImageSource(Protocol):
    """What can be compared.

    digest: of the content. count: how many there are; None: as many as wanted. preparation: what
    is done to the content, for the record. statistics: given in place of images, or None.
    """

    name: str
    digest: str
    count: int | None
    preparation: dict[str, Any]
    statistics: Gaussian | None

    def images(self, count: int) -> Iterator[np.ndarray]:
        """Yield `count` images uint8 [H, W, C]."""


class FolderImages:
    """All image files below a directory, taken and decoded as prepare_data.py does it.

    alpha: "drop" or "composite:COLOUR", see `dnnlib.image_files.convert`.
    """

    statistics = None

    def __init__(self, directory: Path, alpha: str = "drop"):
        self.name, self._alpha = str(directory), alpha
        self.preparation: dict[str, Any] = {} if alpha == "drop" else {"alpha": alpha}
        self.left_aside = LeftAside()
        self._files = []
        for file in walk(directory):
            if reason := reason_to_leave_aside(file.name):
                self.left_aside.add(reason, file.name)
            elif problem := file.problem or _problem(file.path):
                self.left_aside.add(f"files that cannot be used ({problem})", file.name)
            else:
                self._files.append(Path(file.path))
        self.count = len(self._files)
        if not self._files:
            found = "; ".join(self.left_aside.describe())
            raise UserError(
                f"{directory} holds no images" + (f" (left aside: {found})" if found else "")
            )

    @functools.cached_property
    def digest(self) -> str:
        """Of the content of all files, in order; all are read."""
        total = hashlib.sha256()
        for path in self._files:
            total.update(hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()

    def images(self, count: int) -> Iterator[np.ndarray]:
        """Yield images as RGB."""
        for path in self._files[:count]:
            try:
                image = decode(path.read_bytes())
                yield np.asarray(convert(image, channels="rgb", alpha=self._alpha))
            except ImageError as error:
                raise UserError(f"{path}: {error}; remove it, or put it right") from None


def _problem(path: str) -> str | None:
    """Say why a file is no image, by its size and first bytes, or that it cannot be read."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            require_image(file.read(HEAD_BYTES), size, most_bytes_for())
    except ImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror
    return None


class ArrayImages:
    """The images uint8 [N, H, W, C] of an npz file, as OpenAI's evaluations use (`arr_0`).

    They are read one by one; memory does not grow with their number.
    """

    statistics = None
    preparation: dict[str, Any] = {}

    def __init__(self, path: Path):
        self.name = str(path)
        self._path = path
        with self._open() as (_, shape):
            self.count, self._shape = shape[0], shape[1:]

    @functools.cached_property
    def digest(self) -> str:
        """Of the pixels."""
        total = hashlib.sha256()
        for image in self.images(self.count):
            total.update(image.tobytes())
        return total.hexdigest()

    def images(self, count: int) -> Iterator[np.ndarray]:
        """Yield images as stored."""
        size = int(np.prod(self._shape))
        with self._open() as (file, _):
            for _ in range(min(count, self.count)):
                content = file.read(size)
                if len(content) < size:
                    raise UserError(f"{self._path}: cut short; fetch or make it again")
                yield np.frombuffer(content, np.uint8).reshape(self._shape)

    def _open(self) -> "_OpenArray":
        return _OpenArray(self._path)


class _OpenArray:
    """Context of (file positioned at the first image, shape) of an array inside an npz file."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self):
        self._archive = zipfile.ZipFile(self._path)
        self._file = self._archive.open("arr_0.npy")
        version = np.lib.format.read_magic(self._file)
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, column_major, dtype = read_header(self._file)
        if dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3, 4) or column_major:
            self.__exit__()
            raise UserError(f"{self._path}: arr_0 is {dtype} {shape}, not uint8 [N, H, W, 3 or 4]")
        return self._file, shape

    def __exit__(self, *_error) -> None:
        self._file.close()
        self._archive.close()


class StoredStatistics:
    """Mean and covariance computed elsewhere: `mu` and `sigma` of TTUR's or clean-fid's npz."""

    count = None
    preparation: dict[str, Any] = {}

    def __init__(self, path: Path, mean: np.ndarray, covariance: np.ndarray):
        self.name = str(path)
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.statistics = Gaussian(mean, covariance, None)

    def images(self, count: int) -> Iterator[np.ndarray]:
        """There are none."""
        raise UserError(
            f"{self.name} holds statistics, not images: they serve the Frechet distance only"
        )


def open_images(path: Path, alpha: str = "drop") -> ImageSource:
    """Open a folder of images, or an npz file with images (`arr_0`) or with `mu` and `sigma`.

    alpha: what becomes of transparency in a folder.

    An npz that has both, such as OpenAI's reference batches, is taken as statistics. Raises
    UserError if there is nothing of the kind.
    """
    if path.is_dir():
        return FolderImages(path, alpha)
    if not path.is_file():
        raise MissingFile(f"{path} does not exist; give a directory or an npz file")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if {"mu", "sigma"} <= set(arrays):
                mean, covariance = (np.asarray(arrays[name], float) for name in ("mu", "sigma"))
                return StoredStatistics(path, mean, covariance)
            if "arr_0" in arrays:
                return ArrayImages(path)
            names = ", ".join(itertools.islice(arrays, 5))
    except UserError:
        raise
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is no npz file ({error})") from None
    raise UserError(f"{path} holds neither arr_0 (images) nor mu and sigma, but {names}")
