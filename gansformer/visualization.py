"""What visualize.py shows of a model: for each kind a function that writes files and yields them.

Each file has another beside it, NAME.json, with all that it needs to be made again and what was
measured. Images are float32 [B, H, W, C] as the network makes them until they are written.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from dnnlib.images import save_image
from dnnlib.progress import track
from dnnlib.videos import default_format, require_format, write_video
from gansformer import editing
from gansformer.generation import latents, noise_numbers
from gansformer.grids import (
    colour_attention,
    enlarge,
    heat,
    legend,
    make_grid,
    mean_attention,
    overlay,
)
from gansformer.sampling import OpenModel, Start, attention_layers, parse_layers
from gansformer.snapshot import list_snapshots, load_snapshot
from gansformer.truncation import sample_w

FIRST_FRESH_SEED = 1_000_000  # of what is resampled, where no other seeds are given
W_SAMPLES = 4000  # for the principal directions of w


@dataclasses.dataclass(frozen=True)
class VisualizationOptions:
    """What a kind shows; see `visualize.py --help`. None: the kind's own default."""

    seeds: list[int] | None = None
    others: list[int] | None = None
    layers: str | None = None
    components: str | None = None
    component: int | None = None
    space: str = "z"
    frames: int = 60
    fps: float = 30
    video: str | None = None
    draws: int = 64
    method: str = "pca"
    count: int = 5


class Results:
    """Where files go: each with what it needs to be made again beside it."""

    def __init__(self, out: Path, kind: str, opened: OpenModel, options: Any, command: str):
        self.out = out
        given = {k: v for k, v in dataclasses.asdict(options).items() if v is not None}
        self.facts = {"command": command, "kind": kind, **opened.describe(), "options": given}

    def image(self, name: str, pixels: np.ndarray, **measured) -> Path:
        """Write NAME.png from uint8 [H, W, 3]."""
        path = self.out / f"{name}.png"
        save_image(pixels, path)
        return self._describe(path, measured)

    def video(
        self, name: str, frames: Iterable[np.ndarray], options: VisualizationOptions, **measured
    ) -> Path:
        """Write a video from frames uint8 [H, W, 3]."""
        path = self.out / f"{name}.{options.video or default_format()}"
        write_video(path, frames, fps=options.fps)
        return self._describe(path, measured)

    def _describe(self, path: Path, measured: dict[str, Any]) -> Path:
        facts = {"file": path.name, **self.facts, **({"measured": measured} if measured else {})}
        with atomic_file(path.with_name(f"{path.name}.json"), "w") as file:
            json.dump(facts, file, indent=2, default=str)
            file.write("\n")
        return path


def show_attention(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """Where components attend: an overview of all images, and each component's map of each."""
    maps, layers = _choose_maps(opened, options)
    start = opened.start(options.seeds or range(4))
    k = opened.generator.config.components
    components = parse_layers(options.components or f"0-{k - 1}", k, "--components")
    rows = []
    for i, name in enumerate(track(start.names, label="attention")):
        image, attention = _attend(opened, start, i)
        size = image.shape[1:3]
        pixels = opened.rgb(image)
        chosen = [attention[m].mean(axis=1) for m in maps]  # [1, h, w, k]
        coloured = [opened.crop(colour_attention(one, size)) for one in chosen]
        row = [pixels, *coloured, *(overlay(pixels, one) for one in coloured)]
        rows.append(np.concatenate(row))
        tiles = [legend(components, k, *pixels.shape[1:3])]
        for one in chosen:
            each = enlarge(one, size)[0].transpose(2, 0, 1)[components]  # [n, H, W]
            shown = heat(opened.crop(each[..., None])[..., 0])
            tiles.append(overlay(np.repeat(pixels, len(components), axis=0), shown, 0.7))
        grid = make_grid(np.concatenate(tiles), len(components))
        yield results.image(f"attention-{name}", grid, layers=layers, components=components)
    grid = make_grid(np.concatenate(rows), len(rows[0]))
    height, width = rows[0].shape[1:3]
    strip = make_grid(legend(range(k), k, height // 4, width // 2), grid.shape[1] // (width // 2))
    strip = np.pad(
        strip, [(0, 0), (0, grid.shape[1] - strip.shape[1]), (0, 0)], constant_values=255
    )
    yield results.image("attention", np.concatenate([grid, strip]), layers=layers, rows=start.names)


def show_layers(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """What each position attends to most, in every attention layer and head."""
    opened.require_attention()
    start = opened.start(options.seeds or range(4))
    rows = []
    for i in track(range(len(start.names)), label="layers"):
        image, attention = _attend(opened, start, i)
        heads = [maps[:, head] for maps in attention for head in range(maps.shape[1])]
        coloured = [opened.crop(colour_attention(maps, image.shape[1:3])) for maps in heads]
        rows.append(np.concatenate([opened.rgb(image), *coloured]))
    grid = make_grid(np.concatenate(rows), len(rows[0]))
    measured = {"layers": attention_layers(opened.generator), "rows": start.names}
    yield results.image("layers", grid, **measured)


def show_interpolation(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """The way through several images, as a strip and as a video that ends where it begins.

    Noise is interpolated, too, so that each image on the way is that of its seed.
    """
    in_z = options.space == "z" and opened.options.w is None
    seeds = options.seeds or list(range(4))
    start = opened.start(seeds)
    if len(start.names) < 2:
        raise UserError("interpolation needs at least two images; give more --seeds")
    if in_z:
        points = latents(opened.generator, seeds).numpy()[:, None]
        points, interpolate = [z[0] for z in points], editing.slerp
    else:
        points, interpolate = list(start.w), editing.lerp
    noise = start.noise
    if noise is None and opened.options.noise == "random":
        noise = noise_numbers(opened.generator, start.seeds)

    def images(steps: int, closed: bool) -> Iterator[np.ndarray]:
        way = editing.walk(points, steps, interpolate=interpolate, closed=closed)
        ws = _map_along(opened, way) if in_z else way
        numbers = _repeat_none() if noise is None else _noise_along(noise, steps, closed)
        items = ((w, start.seeds[0], part) for w, part in zip(ws, numbers, strict=False))
        for image in opened.sampler.stream(items):
            yield opened.rgb(image[None])[0]

    steps = 7
    strip = list(images(steps, closed=False))
    rows = [strip[i * steps : (i + 1) * steps + 1] for i in range(len(points) - 1)]
    grid = make_grid(np.stack([tile for row in rows for tile in row]), steps + 1)
    yield results.image("interpolation", grid, ends=start.names)
    total = options.frames * len(points)
    frames = track(images(options.frames, closed=True), label="video", total=total)
    yield results.video("interpolation", frames, options, ends=start.names, count=total)


def show_style_mixing(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """Images of rows with some layers of those of columns (Karras et al. 2019, figure 3)."""
    start = opened.start(options.seeds or range(4))
    others = options.others or list(range(100, 106))
    columns = opened.start_of(others)
    count = opened.generator.layers
    ranges = {"": options.layers}
    if options.layers is None:
        ranges = {"-coarse": "0-3", "-middle": "4-7", "-fine": f"8-{count - 1}"}
        ranges = {k: v for k, v in ranges.items() if k == "-coarse" or int(v[0]) < count}
    top = _images(opened, columns)
    blank = np.full_like(top[:1], 255)
    for name, text in ranges.items():
        text = text if options.layers is not None else _up_to(text, count)
        layers = parse_layers(text, count)

        def items(layers=layers):
            for i, w in enumerate(start.w):
                yield w, start.seeds[i], start.noise_of(i)
                for other in columns.w:
                    mixed = editing.mix_layers(w[None], other[None], layers)[0]
                    yield mixed, start.seeds[i], start.noise_of(i)

        made = _stream(opened, items(), len(start.w) * (len(others) + 1), f"layers {text}")
        tiles = np.concatenate([blank, top, np.stack(list(made))])
        grid = make_grid(tiles, len(others) + 1)
        facts = {"layers": layers, "rows": start.names, "columns": columns.names}
        yield results.image(f"style-mixing{name}", grid, **facts)


def show_components(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """What changes with each component: an image of it, how much, and where it attends."""
    opened.require_attention()
    start = opened.start(options.seeds or range(4))
    k = opened.generator.config.components
    components = parse_layers(options.components or f"0-{k - 1}", k, "--components")
    others = options.others or list(range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + 4))
    sources = opened.start_of(others)
    correlations = []
    for i, name in enumerate(track(start.names, label="components")):
        image, edited, change, attention = component_changes(
            opened, start, i, sources.w, components
        )
        correlations.append(
            (correlate(change, attention), correlate(_beyond_mean(change), _beyond_mean(attention)))
        )
        tiles = [opened.rgb(edited), *(heat(opened.crop(x[..., None])[..., 0]) for x in
                                       (change, attention))]  # fmt: skip
        head = opened.rgb(image)
        blank = np.full_like(head, 255)
        numbers = legend(components, k, head.shape[1] // 4, head.shape[2])
        grid = make_grid(
            np.concatenate([x for pair in zip((head, blank, blank), tiles, strict=True)
                            for x in pair]), len(components) + 1)  # fmt: skip
        strip = make_grid(numbers, len(components))
        strip = np.pad(strip, [(0, 0), (head.shape[2], 0), (0, 0)], constant_values=255)
        facts = {
            "components": components,
            "others": others,
            "correlation": correlations[-1][0],
            "correlation within positions": correlations[-1][1],
        }
        yield results.image(f"components-{name}", np.concatenate([strip, grid]), **facts)
    means, deviations = np.mean(correlations, axis=0), np.std(correlations, axis=0)
    print(
        f"correlation of what a component changes with its attention, over {len(correlations)} "
        f"images: {means[0]:.3f} +- {deviations[0]:.3f}; relative to the mean of all components at "
        f"each position: {means[1]:.3f} +- {deviations[1]:.3f}",
        flush=True,
    )


def component_changes(
    opened: OpenModel, start: Start, i: int, sources: np.ndarray, components: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Replace each component of image i by those of `sources` [S, K, L, w_dim].

    Returns the image [1, H, W, C], the first replacement of each component [n, H, W, C], the mean
    absolute change of a position over colours and sources [n, H, W], and the attention to each
    component, averaged over layers and heads, [n, H, W].
    """
    image, attention = _attend(opened, start, i)
    items = (
        (editing.mix_components(start.w[i : i + 1], source[None], [component])[0],
         start.seeds[i], start.noise_of(i))
        for component in components
        for source in sources
    )  # fmt: skip
    first, change = [], []
    made = opened.sampler.stream(items)
    for _ in components:
        edited = np.stack(list(islice(made, len(sources))))
        first.append(edited[0])
        change.append(np.abs(edited - image).mean(axis=(0, 3)))
    maps = mean_attention(attention, image.shape[1:3])[0].transpose(2, 0, 1)  # [k, H, W]
    return image, np.stack(first), np.stack(change), maps[list(components)]


def correlate(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays of one shape, over all of their elements."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _beyond_mean(maps: np.ndarray) -> np.ndarray:
    """Return maps [n, H, W] without their mean over components at each position.

    What changes at all (a figure on a plain ground) then correlates with nothing.
    """
    return maps - maps.mean(axis=0)


def show_noise(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """What noise decides: some draws of it for the same w, and the deviation over many."""
    if not opened.generator.config.noise or opened.options.noise != "random":
        raise UserError("this shows what random noise does; the network and --noise must have it")
    start = opened.start(options.seeds or range(4))
    shown, rows, deviations = 4, [], []
    for w in track(start.w, label="noise"):
        total = squares = 0.0
        tiles = []
        for image in opened.sampler.stream((w, seed, None) for seed in range(options.draws)):
            tiles += [image] if len(tiles) < shown else []
            total, squares = total + image.astype(np.float64), squares + np.float64(image) ** 2
        variance = squares / options.draws - (total / options.draws) ** 2
        deviations.append(np.sqrt(np.maximum(variance, 0)).mean(axis=-1))
        rows.append(np.concatenate([np.stack(tiles), (total / options.draws)[None]]))
    highest = max(deviation.max() for deviation in deviations)
    tiles = [
        tile
        for row, deviation in zip(rows, deviations, strict=True)
        for tile in (*opened.rgb(row), heat(opened.crop(deviation[None, ..., None])[0, ..., 0],
                                            highest))
    ]  # fmt: skip
    grid = make_grid(np.stack(tiles), len(rows[0]) + 1)
    facts = {"draws": options.draws, "deviation": float(np.mean(deviations)), "rows": start.names}
    yield results.image("noise", grid, **facts)


def show_truncation(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """A ladder of psi for each image, from the average to beyond what training has seen."""
    if opened.options.w is not None:
        raise UserError("truncation is shown from seeds; leave --w out")
    seeds = options.seeds or list(range(4))
    ladder = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    z = latents(opened.generator, seeds)
    labels = opened.labels(len(seeds))
    ws = opened.generator.mapping(z, labels)
    steps = [opened.generator.truncate(ws, psi=psi).numpy() for psi in ladder]
    items = ((steps[j][i], seed, None) for i, seed in enumerate(seeds) for j in range(len(ladder)))
    made = list(_stream(opened, items, len(seeds) * len(ladder), "truncation"))
    yield results.image("truncation", make_grid(np.stack(made), len(ladder)), psi=ladder)


def show_progress(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """The same images over the snapshots of a run, as a video and as rows."""
    snapshots = list_snapshots(Path(opened.name) / "snapshots")
    if len(snapshots) < 2:
        raise UserError(f"{opened.name}: progress needs a run with at least two snapshots")
    seeds, generator = options.seeds or list(range(8)), opened.generator
    rows = []

    def frames() -> Iterator[np.ndarray]:
        for path in track(snapshots, label="progress", unit="snapshot"):
            source = getattr(load_snapshot(path), opened.options.network)
            if source is None or source.config != generator.config:
                raise UserError(f"{path} holds another network than the newest snapshot")
            for variable, value in zip(generator.variables, source.variables, strict=True):
                variable.assign(value)
            generator.component_averages = source.component_averages
            images = opened.rgb(opened.sampler(seeds, opened.labels(len(seeds))).images)
            rows.append(images)
            yield make_grid(images, max(len(seeds) // 2, 1))

    facts = {"snapshots": [path.name for path in snapshots], "seeds": seeds}
    yield results.video("progress", frames(), options, **facts)
    chosen = np.unique(np.linspace(0, len(rows) - 1, 8).astype(int))
    grid = make_grid(np.concatenate([rows[i] for i in chosen]), len(seeds))
    yield results.image("progress", grid, rows=[facts["snapshots"][i] for i in chosen])


def show_directions(
    opened: OpenModel, options: VisualizationOptions, results: Results
) -> Iterator[Path]:
    """Steps along the strongest directions of one component's w, or of the global latent's.

    A row for each direction. A step of 1 is a standard deviation of w along it.
    """
    generator = opened.generator
    last = generator.config.latents - 1
    component = last if options.component is None else options.component
    if component > last:
        raise UserError(f"--component {component}: this model has 0 to {last}, {last} is global")
    layers = parse_layers(options.layers or f"0-{generator.layers - 1}", generator.layers)
    start = opened.start(options.seeds or [0])
    directions, deviations = find_directions(opened, component, layers, options)
    amounts = [-3, -2, -1, 0, 1, 2, 3]
    for i, name in enumerate(start.names):
        items = (
            (editing.move(start.w[i : i + 1], vector, amount * deviation, components=[component],
                          layers=layers)[0], start.seeds[i], start.noise_of(i))
            for vector, deviation in zip(directions.vectors, deviations, strict=True)
            for amount in amounts
        )  # fmt: skip
        count = len(directions.vectors) * len(amounts)
        grid = make_grid(np.stack(list(_stream(opened, items, count, name))), len(amounts))
        facts = {"component": component, "layers": layers, "amounts": amounts,
                 "deviations": deviations, "strengths": directions.strengths.tolist()}  # fmt: skip
        yield results.image(f"directions-{options.method}-{component}-{name}", grid, **facts)


def find_directions(
    opened: OpenModel, component: int, layers: Sequence[int], options: VisualizationOptions
) -> tuple[editing.Directions, list[float]]:
    """Return directions by the method of the options, and the deviations of w along them."""
    generator = opened.generator
    batches = sample_w(generator, W_SAMPLES, opened.labels(1))
    samples = np.concatenate([w[:, component] for w in batches])
    if options.method == "pca":
        directions = editing.principal_directions(samples, options.count)
    else:
        try:
            weights = editing.first_weights(generator, component, layers)
        except ValueError as error:
            raise UserError(f"--layers: {error}; choose others") from None
        directions = editing.closed_form_directions(weights, options.count)
    return directions, (samples @ directions.vectors.T).std(axis=0).tolist()


KINDS: dict[str, Callable[..., Iterator[Path]]] = {
    "attention": show_attention,
    "layers": show_layers,
    "interpolation": show_interpolation,
    "style-mixing": show_style_mixing,
    "components": show_components,
    "noise": show_noise,
    "truncation": show_truncation,
    "progress": show_progress,
    "directions": show_directions,
}


def require_video(options: VisualizationOptions) -> None:
    """Raise UserError if the video's format cannot be written here."""
    if options.video is not None:
        require_format(options.video)


def _choose_maps(opened: OpenModel, options: VisualizationOptions) -> tuple[list[int], list[int]]:
    """Return which attention maps are shown, and which of the L layers they are of.

    By default the last one of each resolution.
    """
    opened.require_attention()
    there = attention_layers(opened.generator)
    if options.layers is None:
        last = {(layer + 4) // 2: place for place, layer in enumerate(there)}
        places = list(last.values())
    else:
        wanted = parse_layers(options.layers, opened.generator.layers)
        places = [place for place, layer in enumerate(there) if layer in wanted]
        if not places:
            raise UserError(f"--layers {options.layers}: only {there} have attention")
    return places, [there[place] for place in places]


def _attend(opened: OpenModel, start: Start, i: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return image i [1, H, W, C] and its attention maps [1, A, h, w, k]."""
    noise = None if start.noise is None else start.noise[i : i + 1]
    out = opened.attention_sampler.synthesize(start.w[i : i + 1], start.seeds[i : i + 1], noise)
    return out.images, out.attention


def _images(opened: OpenModel, start: Start) -> np.ndarray:
    """Return the images that a start gives, uint8 [N, H, W, 3]."""
    return opened.rgb(opened.sampler.synthesize(start.w, start.seeds, start.noise).images)


def _stream(opened: OpenModel, items: Iterable, total: int, label: str) -> Iterator[np.ndarray]:
    for image in track(opened.sampler.stream(items), label=label, total=total):
        yield opened.rgb(image[None])[0]


def _map_along(opened: OpenModel, way: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield w [K, L, w_dim] of each z [K, z_dim]."""
    while part := list(islice(way, opened.sampler.size)):
        yield from opened.sampler.map_latents(np.stack(part), opened.labels(len(part)))


def _noise_along(noise: np.ndarray, steps: int, closed: bool) -> Iterator[np.ndarray]:
    return editing.walk(list(noise), steps, interpolate=editing.slerp, closed=closed)


def _repeat_none() -> Iterator[None]:
    while True:
        yield None


def _up_to(text: str, count: int) -> str:
    first, last = map(int, text.split("-"))
    return f"{first}-{min(last, count - 1)}"
