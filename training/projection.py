"""Projection: the w and the noise from which a generator makes an image most like a given one.

Karras et al. (2020), "Analyzing and Improving the Image Quality of StyleGAN", section 5 and its
appendix on projection: Adam from the average of w, with a rate that rises, stays and falls; noise
on w that fades; a regulariser that keeps information out of the noise maps. Two things differ: w is
written in units of its standard deviations, so that the rates do not depend on the network; and a
component starts from its own average.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.errors import MissingFile, UserError
from dnnlib.files import atomic_file, require_writable
from dnnlib.image_files import ImageError, convert, decode
from dnnlib.images import save_image
from dnnlib.progress import track
from dnnlib.random_streams import RandomStream
from dnnlib.videos import default_format, require_format, write_video
from gansformer.generation import Sampler
from gansformer.generator import Generator
from gansformer.grids import make_grid
from gansformer.layers import normalize_rms
from gansformer.sampling import OpenModel, SamplingOptions
from gansformer.truncation import cached_w_statistics
from gansformer.w_files import save_w
from metrics.networks.catalogue import is_here, load_network
from metrics.networks.network import FeatureNetwork

LARGEST = 256  # larger images are averaged down for the perceptual distance, as in the paper
SCALES = 4  # at which pixels are compared: whole, half, a quarter, an eighth
PAIRS = 32  # of random images, to compare distances with
VIDEO_FRAMES = 60


@dataclasses.dataclass(frozen=True)
class ProjectionOptions:
    """How to project; see `project.py --help`."""

    steps: int = 1000
    space: str = "w"  # one w for all layers, or "w+": one for each
    rate: float = 0.1
    perturbation: float = 0.05
    noise_weight: float = 1e5
    seed: int = 0
    video: str | None = None
    weights: Path | None = None  # folder of feature networks


class Distance:
    """How different images are: LPIPS where its weights are there, else what comes close to it.

    Without LPIPS: squared distance of EfficientNet's pooled features, and squared differences of
    pixels at four scales, each in units of the mean over random pairs of the network's own images.
    """

    def __init__(self, pairs: tuple[tf.Tensor, tf.Tensor], weights: Path | None = None):
        """pairs: random images in [-1, 1], two times [N, H, W, C]."""
        self._networks: list[tuple[FeatureNetwork, str]] = []
        if is_here("lpips", weights):
            self._networks.append((load_network("lpips", weights), "embedding"))
            self.name = "LPIPS"
        elif is_here("efficientnet"):
            self._networks.append((load_network("efficientnet"), "pool"))
            self.name = "EfficientNet features and pixels at 4 scales (LPIPS weights not found)"
        else:
            self.name = "pixels at 4 scales (neither LPIPS nor EfficientNet weights found)"
        self._has_pixels = self.name != "LPIPS"
        self._units = [1.0] * (len(self._networks) + self._has_pixels)
        parts = self._parts(self.embed(pairs[0]), self.embed(pairs[1]))
        if self._has_pixels:
            self._units = [float(tf.reduce_mean(part)) or 1.0 for part in parts]
        self.of_random_pairs = float(np.mean(self(*map(self.embed, pairs))))

    def embed(self, images: tf.Tensor) -> list[list[tf.Tensor]]:
        """Return vectors [B, D] of images [B, H, W, C], in groups: one for each part."""
        images = tf.convert_to_tensor(images)
        rgb = tf.repeat(images, 3, axis=3) if images.shape[3] == 1 else images
        factor = rgb.shape[1] // LARGEST
        shrunk = tf.nn.avg_pool2d(rgb, factor, factor, "VALID") if factor > 1 else rgb
        groups = [[net.embed((shrunk + 1) * 127.5)[layer]] for net, layer in self._networks]
        if self._has_pixels:
            pyramid = [rgb]
            while len(pyramid) < SCALES and min(pyramid[-1].shape[1:3]) > 1:
                pyramid.append(tf.nn.avg_pool2d(pyramid[-1], 2, 2, "VALID"))
            groups.append([
                tf.reshape(level, [-1, int(np.prod(level.shape[1:]))])
                / np.sqrt(np.prod(level.shape[1:]))
                for level in pyramid
            ])  # fmt: skip
        return groups

    def __call__(self, first: list[list[tf.Tensor]], second: list[list[tf.Tensor]]) -> tf.Tensor:
        """Return the distances [B] of images whose vectors these are."""
        parts = self._parts(first, second)
        units = self._units
        return tf.add_n([part / unit for part, unit in zip(parts, units, strict=True)]) / len(parts)

    @staticmethod
    def _parts(first, second) -> list[tf.Tensor]:
        return [
            tf.add_n([tf.reduce_sum((a - b) ** 2, axis=1) for a, b in zip(x, y, strict=True)])
            for x, y in zip(first, second, strict=True)
        ]


class Projected(NamedTuple):
    """w [B, K, L, w_dim], noise [B, M] or None, and images [B, H, W, C] after a step."""

    step: int
    w: np.ndarray
    noise: np.ndarray | None
    images: np.ndarray
    distances: np.ndarray


class Projection:
    """Projects images onto one generator; traced once for images of one number."""

    def __init__(
        self,
        generator: Generator,
        distance: Distance,
        options: ProjectionOptions,
        labels: np.ndarray | None = None,
    ):
        self.generator, self.distance, self.options = generator, distance, options
        mean, deviation = cached_w_statistics(generator, labels)
        self.mean, self.deviation = mean[:, None], np.maximum(deviation, 1e-6)[:, None]
        # sigma_w of the paper is that of the whole w; here its elements have unit deviation.
        self.whole_deviation = float(np.sqrt(deviation.size))
        self.depth = generator.layers if options.space == "w+" else 1
        self._noise_slices = _noise_slices(generator)

    def run(self, targets: np.ndarray, numbers: Sequence[int], every: int) -> Iterator[Projected]:
        """Project images float32 [B, H, W, C]; yield the state now and then, and at the end.

        numbers: of the images, for their random numbers. every: steps between two states.
        """
        count, config = len(targets), self.generator.config
        shape = [count, config.latents, self.depth, config.component_dim]
        numbers = tf.constant(list(numbers), tf.int64)
        size = self.generator.synthesis_network.noise_size if config.noise else 0
        start = RandomStream(f"projection {self.options.seed}/noise", numbers).normal([size])
        variables = [tf.Variable(tf.zeros(shape)), tf.Variable(start)]
        moments = [[tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2)]
        target = self.distance.embed(targets)
        step_function = self._make_step(variables, moments, target, numbers)
        show_function = self._make_show(variables, target)
        for step in range(self.options.steps):
            if step % every == 0:
                yield Projected(step, *show_function())
            step_function(tf.constant(step, tf.int64), *self._schedule(step))
        yield Projected(self.options.steps, *show_function())

    def _schedule(self, step: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the learning rate, and the deviation of the noise on w."""
        t = step / self.options.steps
        ramp = min(1.0, (1 - t) / 0.25)
        ramp = 0.5 - 0.5 * np.cos(ramp * np.pi)
        rate = self.options.rate * ramp * min(1.0, t / 0.05 + 1e-3)
        perturbation = self.options.perturbation * self.whole_deviation * max(0, 1 - t / 0.75) ** 2
        return tf.constant(rate, tf.float32), tf.constant(perturbation, tf.float32)

    def _images(self, position: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        w = self.mean + self.deviation * position
        w = tf.tile(w, [1, 1, self.generator.layers // self.depth, 1])
        mode = noise if noise.shape[1] else "none"
        return w, self.generator.synthesis(w, noise=mode).images

    def _make_step(self, variables, moments, target, numbers):
        position, noise = variables

        @tf.function(autograph=False)
        def run_step(step: tf.Tensor, rate: tf.Tensor, perturbation: tf.Tensor) -> None:
            index = numbers * 2**24 + step
            stream = RandomStream(f"projection {self.options.seed}/w", index)
            moved = stream.normal(position.shape[1:]) * perturbation
            with tf.GradientTape() as tape:
                _, images = self._images(position + moved, noise)
                loss = tf.reduce_sum(self.distance(self.distance.embed(images), target))
                loss += self.options.noise_weight * self._noise_regulariser(noise)
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            power = tf.cast(step + 1, tf.float32)
            for i, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
                first = moments[0][i].assign(0.9 * moments[0][i] + 0.1 * gradient)
                second = moments[1][i].assign(0.999 * moments[1][i] + 0.001 * gradient**2)
                first, second = first / (1 - 0.9**power), second / (1 - 0.999**power)
                variable.assign_sub(rate * first / (tf.sqrt(second) + 1e-8))
            noise.assign(self._normalise(noise))

        return run_step

    def _make_show(self, variables, target):
        @tf.function(autograph=False)
        def show():
            w, images = self._images(*[variable.read_value() for variable in variables])
            return w, variables[1].read_value(), images, self.distance(
                self.distance.embed(images), target
            )  # fmt: skip

        return lambda: [value.numpy() for value in show()]

    def _maps(self, noise: tf.Tensor) -> list[tf.Tensor]:
        """Return the noise maps [B, h, w] of all layers (of k-GAN's images, one after another)."""
        return [
            tf.reshape(noise[:, start:end], [-1, *grid]) for start, end, grid in self._noise_slices
        ]

    def _noise_regulariser(self, noise: tf.Tensor) -> tf.Tensor:
        """Sum of squared autocorrelations at a shift of one, at all scales down to 8x8."""
        total = tf.constant(0.0)
        for level in self._maps(noise) if noise.shape[1] else []:
            while True:
                for axis in (1, 2):
                    product = level * tf.roll(level, 1, axis=axis)
                    total += tf.reduce_sum(tf.reduce_mean(product, axis=[1, 2]) ** 2)
                if min(level.shape[1:]) <= 8:
                    break
                level = tf.nn.avg_pool2d(level[..., None], 2, 2, "VALID")[..., 0] * 2
        return total

    def _normalise(self, noise: tf.Tensor) -> tf.Tensor:
        """Give each noise map mean 0 and deviation 1."""
        if not noise.shape[1]:
            return noise
        parts = []
        for level in self._maps(noise):
            level -= tf.reduce_mean(level, axis=[1, 2], keepdims=True)
            parts.append(tf.reshape(normalize_rms(level, [1, 2]), [noise.shape[0], -1]))
        return tf.concat(parts, axis=1)


def _noise_slices(generator: Generator) -> list[tuple[int, int, tuple[int, int]]]:
    """Return where the noise of each layer begins and ends among an image's, and its grid."""
    network, slices, start = generator.synthesis_network, [], 0
    probe = network.split_noise(tf.zeros([1, network.noise_size]))
    for maps in probe:
        end = start + int(np.prod(maps.shape))
        slices.append((start, end, tuple(maps.shape[1:3])))
        start = end
    return slices


def project_images(
    model: str, targets: Sequence[Path], out: Path, sampling: SamplingOptions, options
) -> list[Path]:
    """Project image files; write w.npz, an image and a video of each, a grid, and the distances.

    Returns what was written. Raises UserError if a target cannot be read or the model not used.
    """
    require_writable(out, "--out")
    require_format(options.video or default_format())
    opened = OpenModel(model, sampling)
    generator = opened.generator
    if generator.channels not in (1, 3):
        raise UserError(f"{model} makes images with transparency; it cannot be projected onto")
    labels = opened.labels(1)
    images = np.stack([read_target(path, opened) for path in targets])
    names = _unique_names(targets)
    distance = Distance(_random_pairs(opened), options.weights)
    print(f"distance: {distance.name}", flush=True)
    projection = Projection(generator, distance, options, labels)
    at_once = int(np.clip(8 * (128 / generator.resolution) ** 2, 1, 8))
    every = max(options.steps // VIDEO_FRAMES, 1)
    out.mkdir(parents=True, exist_ok=True)
    results, written = [], []
    for first in range(0, len(images), at_once):
        part = range(first, min(first + at_once, len(images)))
        states, frames = projection.run(images[part], part, every), []
        total = -(-options.steps // every) + 1
        label = f"projecting {part[0] + 1}-{part[-1] + 1} of {len(images)}"
        for state in track(states, label=label, total=total, unit="part"):
            frames.append([_small(opened.rgb(one[None])[0]) for one in state.images])
        results.append(state)
        for i, number in enumerate(part):
            reference = _small(opened.rgb(images[number][None])[0])
            path = out / f"{names[number]}.{options.video or default_format()}"
            way = (np.concatenate([reference, frame[i]], axis=1) for frame in frames)
            write_video(path, way, fps=12)
            written.append(path)
    return [*_write_results(opened, names, images, results, distance, options, out), *written]


def _write_results(opened, names, images, results, distance, options, out) -> list[Path]:
    w, made, distances = (
        np.concatenate([getattr(state, part) for state in results])
        for part in ("w", "images", "distances")
    )
    has_noise = opened.generator.config.noise
    noise = np.concatenate([state.noise for state in results]) if has_noise else None
    save_w(out / "w.npz", opened.generator, w, [0] * len(w), noise)
    pairs = np.stack([opened.rgb(images), opened.rgb(made)], axis=1)
    save_image(make_grid(pairs.reshape(-1, *pairs.shape[2:]), 2), out / "projected.png")
    written = [out / "w.npz", out / "projected.png"]
    for name, image, number in zip(names, pairs[:, 1], distances, strict=True):
        written.append(out / f"{name}-projected.png")
        save_image(image, written[-1])
        share = number / distance.of_random_pairs
        print(f"{name}: distance {number:.4g}, {share:.2%} of that of random pairs", flush=True)
    facts = {
        **opened.describe(),
        "options": dataclasses.asdict(options),
        "distance": distance.name,
        "distance of random pairs": distance.of_random_pairs,
        "distances": dict(zip(names, map(float, distances), strict=True)),
        "rms of pixels": dict(zip(names, _rms(images, made), strict=True)),
    }
    with atomic_file(out / "projection.json", "w") as file:
        json.dump(facts, file, indent=2, default=str)
        file.write("\n")
    return [*written, out / "projection.json"]


def _rms(first: np.ndarray, second: np.ndarray) -> list[float]:
    return np.sqrt(np.mean((first - np.clip(second, -1, 1)) ** 2, axis=(1, 2, 3))).tolist()


def _random_pairs(opened: OpenModel) -> tuple[np.ndarray, np.ndarray]:
    generator = opened.generator
    sampler = Sampler(generator, noise="random" if generator.config.noise else "none")
    images = sampler(range(2 * PAIRS), opened.labels(2 * PAIRS)).images
    return images[:PAIRS], images[PAIRS:]


def read_target(path: Path, opened: OpenModel) -> np.ndarray:
    """Return an image file as the network would make it, float32 [H, W, C] in [-1, 1].

    Cut to the network's aspect ratio and resized, which is said. Raises UserError if it is none.
    """
    try:
        image = decode(path.read_bytes())
    except FileNotFoundError:
        raise MissingFile(f"--target {path}: no such file") from None
    except ImageError as error:
        raise UserError(f"--target {path}: {error}") from None
    channels = "gray" if opened.generator.channels == 1 else "rgb"
    image = convert(image, channels=channels, alpha="composite:white")
    height, width, count = opened.generator.image_shape
    rows = min(round(width * opened.ratio), height)  # of padded squares, the useful ones
    if image.size != (width, rows):
        cut = _central_box(*image.size, width / rows)
        print(f"{path}: {image.width}x{image.height}, resized to {width}x{rows}", flush=True)
        image = image.resize((width, rows), box=cut, resample=3)  # bicubic
    pixels = np.asarray(image, np.float32).reshape(rows, width, count) / 127.5 - 1
    above = (height - rows) // 2
    return np.pad(pixels, [(above, height - rows - above), (0, 0), (0, 0)], constant_values=-1.0)


def _central_box(width: int, height: int, aspect: float) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of the largest central part with this width / height."""
    new_width, new_height = min(width, height * aspect), min(height, width / aspect)
    left, top = (width - new_width) / 2, (height - new_height) / 2
    return left, top, left + new_width, top + new_height


def _unique_names(paths: Sequence[Path]) -> list[str]:
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{i}-{stem}" for i, stem in enumerate(stems)]


def _small(image: np.ndarray) -> np.ndarray:
    """Leave pixels out until at most LARGEST are in a row, for videos."""
    step = -(-image.shape[1] // LARGEST)
    return image[::step, ::step]
