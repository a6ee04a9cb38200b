"""From a trained model to picture files."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnnlib.devices import make_strategy
from dnnlib.errors import UserError, suggest
from dnnlib.images import crop_rows, make_sheet, save_image, to_uint8
from dnnlib.ops import set_implementation
from dnnlib.progress import track
from gansformer.generator import Generator
from gansformer.loading import load
from gansformer.sampling import SeedSampler
from gansformer.snapshot import Snapshot
from training.sheets import attention_sheet


@dataclasses.dataclass(frozen=True)
class GenerationOptions:
    """What to make; see `generate.py --help`."""

    psi: float = 0.7
    psi_cutoff: int | None = None
    noise: str = "random"
    network: str = "Gs"
    label: str | None = None
    grid: bool = False
    columns: int = 8
    attention: bool = False
    devices: str = "auto"
    ops: str = "auto"


def generate_pictures(
    model: str, out: Path, seeds: Sequence[int], options: GenerationOptions
) -> str:
    """Write a picture for each seed into `out`, or one sheet; return what was written, in words.

    A picture depends on the model, its seed and the options only. Raises UserError if the model
    cannot be had or does not do what the options ask.
    """
    strategy = make_strategy(options.devices)
    set_implementation(options.ops)
    with strategy.scope():
        snapshot = load(model)
    generator = choose_generator(snapshot, options.network, model)
    if options.attention and not generator.config.has_attention:
        raise UserError(f"{model} has no attention; leave --attention out")
    labels = label_rows(snapshot, generator, options.label, len(seeds))
    ratio = snapshot.details.get("ratio", 1.0)
    sampler = SeedSampler(
        generator,
        psi=options.psi,
        psi_cutoff=options.psi_cutoff,
        noise=options.noise,
        return_attention=options.attention,
    )
    out.mkdir(parents=True, exist_ok=True)
    pictures, maps = [], []
    progress = _track_images(sampler.batches(seeds, labels), len(seeds))
    for seed, image, attention in progress:
        picture = crop_rows(to_uint8(image)[None], ratio)[0]
        if not options.grid:
            save_image(picture, out / f"seed{seed:06d}.png")
        else:
            pictures.append(picture)
        if options.attention:
            maps.append(attention_sheet(image[None], attention, ratio))
    written = []
    if options.grid:
        save_image(make_sheet(np.stack(pictures), options.columns), out / "grid.png")
        written.append(f"{out / 'grid.png'} ({len(seeds)} pictures)")
    else:
        written.append(f"{len(seeds)} pictures in {out}")
    if options.attention:
        save_image(np.concatenate(maps), out / "attention.png")
        written.append(str(out / "attention.png"))
    return " and ".join(written)


def _track_images(batches, count: int):
    """Yield (seed, image, attention maps of one image) one by one, with progress."""

    def images():
        for seeds, out in batches:
            for i, seed in enumerate(seeds):
                yield seed, out.images[i], [maps[i : i + 1] for maps in out.attention or []]

    return track(images(), label="generating", total=count)


def parse_seeds(text: str) -> list[int]:
    """Read "0-31" or "1,5,7-9". Raises UserError if it is of another form."""
    seeds = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"--seeds {text}: expected numbers and ranges, such as 0-31 or 1,5,7-9")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return seeds


def choose_generator(snapshot: Snapshot, network: str, model: str) -> Generator:
    """Return the generator asked for, or raise UserError saying which there is."""
    generator = getattr(snapshot, network)
    if generator is None:
        there = [name for name in ("G", "Gs") if getattr(snapshot, name) is not None]
        hint = f"use --network {there[0]}" if there else "it has no generator at all"
        raise UserError(f"{model} holds no {network}; {hint}")
    return generator


def label_rows(
    snapshot: Snapshot, generator: Generator, label: str | None, count: int
) -> np.ndarray | None:
    """Return `count` one-hot label rows for a class given by number or name, or None."""
    size = generator.label_dim
    if not size:
        if label is not None:
            raise UserError("this model is not conditional; leave --label out")
        return None
    names = snapshot.details.get("label_names") or [str(i) for i in range(size)]
    if label is None:
        raise UserError(f"this model is conditional; choose --label from {', '.join(names)}")
    if label in names:
        index = names.index(label)
    elif label.isdigit() and int(label) < size:
        index = int(label)
    else:
        raise UserError(f"--label {label} is none of {', '.join(names)}{suggest(label, names)}")
    return np.tile(np.eye(size, dtype=np.float32)[index], (count, 1))
