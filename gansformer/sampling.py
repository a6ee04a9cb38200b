"""A model that is open for making images: which network, truncation, noise and label it uses."""

import dataclasses
import re
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.images import crop_rows, to_rgb, to_uint8
from gansformer.blending import blend_generators
from gansformer.generation import Sampler, choose_generator, label_names, label_rows
from gansformer.labels import describe_vector
from gansformer.loading import load
from gansformer.w_files import load_w


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """How a model makes images; what generate.py and visualize.py have in common."""

    psi: float = 0.7
    psi_cutoff: int | None = None
    psi_layers: str | None = None  # see parse_psi_layers
    truncation: str | None = None  # None: of our snapshots component, of official files official
    noise: str = "random"
    network: str = "Gs"
    label: str | None = None
    blend: str | None = None  # another model, whose layers from blend_from pixels on are used
    blend_from: int = 32
    w: Path | None = None  # a file of w, in place of seeds
    dtype: tf.DType = tf.float32


class Start(NamedTuple):
    """What images begin with: names [N], w [N, K, L, w_dim], seeds [N] of the noise.

    noise: its numbers [N, M], where a file of w holds them, else None.
    """

    names: list[str]
    w: np.ndarray
    seeds: list[int]
    noise: np.ndarray | None = None

    def noise_of(self, i: int) -> np.ndarray | None:
        """Return the numbers [M] of the noise of image i, or None."""
        return None if self.noise is None else self.noise[i]


class OpenModel:
    """A model, loaded and set up by SamplingOptions.

    Raises UserError if it cannot be loaded or does not fit the options.
    """

    def __init__(self, name: str, options: SamplingOptions):
        self.name, self.options = name, options
        self.snapshot = load(name)
        generator = choose_generator(
            self.snapshot, options.network, name, options.dtype, options.truncation
        )
        if options.blend is not None:
            other = choose_generator(
                load(options.blend), options.network, options.blend, options.dtype
            )
            generator = blend_generators(generator, other, options.blend_from)
        self.generator = generator
        self.ratio = self.snapshot.details.get("ratio", 1.0)
        self.psi = options.psi
        if options.psi_layers is not None:
            self.psi = parse_psi_layers(options.psi_layers, options.psi, generator.layers)
        if options.psi_cutoff is not None and options.psi_cutoff > generator.layers:
            raise UserError(
                f"--psi-cutoff {options.psi_cutoff}: this model has {generator.layers} layers; "
                "use a smaller number"
            )

    @cached_property
    def sampler(self) -> Sampler:
        """Makes images."""
        return self._make_sampler(return_attention=False)

    @cached_property
    def attention_sampler(self) -> Sampler:
        """Makes images with attention maps. Raises UserError if there is no attention."""
        self.require_attention()
        return self._make_sampler(return_attention=True)

    def require_attention(self) -> None:
        """Raise UserError unless the network has attention maps."""
        if not self.generator.config.has_attention or not attention_layers(self.generator):
            raise UserError(
                f"{self.name} has no attention; use a GANformer (attention simplex or duplex)"
            )

    def _make_sampler(self, **options) -> Sampler:
        how = {"psi": self.psi, "psi_cutoff": self.options.psi_cutoff, "noise": self.options.noise}
        return Sampler(self.generator, **how, **options)

    def labels(self, count: int) -> np.ndarray | None:
        """Return the label [count, label_dim], or None if the model is not conditional."""
        return label_rows(self.snapshot, self.generator, self.options.label, count)

    def describe_label(self) -> str | None:
        """Return the label in words."""
        rows = self.labels(1)
        if rows is None:
            return None
        return describe_vector(rows[0], label_names(self.snapshot, self.generator.label_dim))

    def start(self, seeds: Sequence[int]) -> Start:
        """Return w of the file of the options, else that of seeds."""
        if self.options.w is None:
            return self.start_of(seeds)
        stored = load_w(self.options.w, self.generator)
        if not stored.is_same_network:
            print(f"note: {self.options.w} was made with another network", file=sys.stderr)
        digits = len(str(len(stored.w) - 1))
        names = [f"{self.options.w.stem}-{i:0{digits}d}" for i in range(len(stored.w))]
        return Start(names, stored.w, stored.seeds, stored.noise)

    def start_of(self, seeds: Sequence[int]) -> Start:
        """Return w of seeds."""
        seeds = list(seeds)
        w = self.sampler.map(seeds, self.labels(len(seeds)))
        return Start([f"seed{seed:06d}" for seed in seeds], w, seeds)

    def crop(self, images: np.ndarray) -> np.ndarray:
        """Return the useful rows of [B, H, W, C]."""
        return crop_rows(images, self.ratio)

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Return uint8 [B, H, W, C] of images float32, the useful rows only."""
        return crop_rows(to_uint8(images), self.ratio)

    def rgb(self, images: np.ndarray) -> np.ndarray:
        """As `pixels`, always with three colours."""
        return to_rgb(self.pixels(images))

    def describe(self) -> dict[str, Any]:
        """Return what images depend on beside seeds, for a file beside them."""
        facts = dataclasses.asdict(self.options)
        facts["dtype"] = self.options.dtype.name
        facts["truncation"] = self.generator.truncation
        facts["w"] = None if self.options.w is None else str(self.options.w)
        if self.options.blend is None:
            del facts["blend_from"]
        facts = {name: value for name, value in facts.items() if value is not None}
        return {"model": self.name, "kimg": self.snapshot.kimg, **facts}


def attention_layers(generator) -> list[int]:
    """Return which of the L layers have attention maps, in the order of the maps."""
    return list(attention_resolutions(generator))


def attention_resolutions(generator) -> dict[int, int]:
    """Return the resolution of each of the layers that have attention maps."""
    return {
        layer.index + 1: 2**layer.log2
        for layer in generator.synthesis_network.layers
        if layer.attention is not None and layer.attention.to_image is not None
    }


def parse_layers(text: str, count: int, option: str = "--layers") -> list[int]:
    """Read "0-3" or "1,5,8-10". Raises UserError if it names none or other than 0 to count - 1."""
    chosen = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if last < first or last >= count:
            raise UserError(f"{option} {text}: expected numbers and ranges from 0 to {count - 1}")
        chosen |= set(range(first, last + 1))
    return sorted(chosen)


def parse_psi_layers(text: str, psi: float, count: int) -> list[float]:
    """Read "0-3=0.5,8-10=1": psi of some layers; the others have `psi`. Returns psi of each."""
    values = [psi] * count
    for part in text.split(","):
        layers, separator, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = np.nan
        if not separator or not abs(number) <= 1000:
            raise UserError(
                f"--psi-layers {text}: expected layers and their psi, such as 0-3=0.5,4-6=0.9"
            )
        for layer in parse_layers(layers, count, "--psi-layers"):
            values[layer] = number
    return values
