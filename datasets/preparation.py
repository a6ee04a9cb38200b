"""The choices that determine the bytes of a prepared data set."""

import re
from dataclasses import dataclass

from datasets.manifest import ENCODINGS
from datasets.shaping import CROPS, FILTERS
from dnnlib.errors import UserError, suggest
from dnnlib.image_files import CHANNELS, MAX_PIXELS, composite_colour, most_bytes_for

BYTES_VERSION = 1  # raised when the same source and choices give other bytes than before
LARGEST_RESOLUTION = 4096


@dataclass(frozen=True)
class Preparation:
    """How one image becomes one record."""

    resolution: int = 64
    channels: str = "rgb"  # or "gray", or "rgba": with transparency
    crop: str = "square"  # one of CROPS
    ratio: float | None = None  # height / width of the useful part, with crop "ratio"
    filter: str = "lanczos"  # one of FILTERS
    alpha: str = "drop"  # or "composite:COLOUR"
    encoding: str = "raw"  # or "png"
    all_resolutions: bool = False  # the official form: every power of two down to 4 as well
    max_pixels: int = MAX_PIXELS  # of an image before it is resized; larger ones are not used

    def __post_init__(self):
        _check_choice("crop", self.crop, CROPS)
        _check_choice("filter", self.filter, FILTERS)
        _check_choice("encoding", self.encoding, ENCODINGS)
        _check_choice("channels", self.channels, CHANNELS)
        if self.alpha != "drop":
            composite_colour(self.alpha)
            if self.channels == "rgba":
                raise UserError("channels rgba keep transparency; leave out the alpha option")
        if self.max_pixels < 1:
            raise UserError(f"at most {self.max_pixels} pixels: give a positive number")
        size = self.resolution
        if not 4 <= size <= LARGEST_RESOLUTION or size & (size - 1):
            nearest = min((1 << power for power in range(2, 13)), key=lambda each: abs(each - size))
            raise UserError(
                f"resolution {size} is no power of two from 4 to {LARGEST_RESOLUTION}; the nearest "
                f"is {nearest}"
            )
        if (self.crop == "ratio") != (self.ratio is not None):
            raise UserError("crop ratio and a ratio belong together; for example --ratio 0.75")
        if self.ratio is not None and not 0.05 <= self.ratio <= 20:
            raise UserError(f"ratio {self.ratio} is out of range; it is height / width, like 0.75")
        if self.encoding == "png" and self.all_resolutions:
            raise UserError("the official form of all resolutions is raw; leave out encoding png")

    @property
    def channel_count(self) -> int:
        """3, 1 or 4."""
        return len(CHANNELS[self.channels])

    @property
    def most_bytes(self) -> int:
        """Size of the largest file that is read."""
        return most_bytes_for(self.max_pixels)

    @property
    def levels(self) -> list[int]:
        """Log2 of the resolutions written, largest first."""
        largest = self.resolution.bit_length() - 1
        return list(range(largest, 1, -1)) if self.all_resolutions else [largest]


@dataclass(frozen=True)
class Order:
    """Which images are taken, in which order, into how many files, with which labels."""

    name: str | None = None  # of the data set; after the source if None
    shards: int = 4
    max_images: int | None = None
    seed: int | None = None  # None: sorted by name; a number: shuffled (officially 123)
    labels: str | None = None  # see datasets.labels
    label_file: bool = False  # write the official NAME-rxx.labels too

    def __post_init__(self):
        if not 1 <= self.shards <= 9999:
            raise UserError(f"{self.shards} shards: give a number from 1 to 9999")
        if self.max_images is not None and self.max_images < 1:
            raise UserError(f"at most {self.max_images} images: give a positive number")
        if self.label_file and self.labels is None:
            raise UserError("a label file needs labels; add --labels, for example --labels folders")
        if self.name is not None and not re.fullmatch(r"[\w][\w.+-]*", self.name):
            raise UserError(f'name "{self.name}": use letters, digits, "-", "_" and "." only')


def _check_choice(what: str, value: str, known) -> None:
    if value not in known:
        raise UserError(
            f'{what} "{value}" is not known{suggest(value, known)} (one of {", ".join(known)})'
        )
