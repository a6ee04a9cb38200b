"""The real images nearest to generated ones: does a network memorise?"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

import datasets
from datasets.opening import holds_data_set
from dnnlib.images import to_rgb
from dnnlib.progress import track
from gansformer.canvas import Canvas
from gansformer.grids import make_grid
from gansformer.sampling import OpenModel
from gansformer.visualization import Results, VisualizationOptions
from metrics.image_sources import ImageSource, open_images
from metrics.networks.catalogue import load_network
from training.measure.evaluation import DatasetImages

READ_BATCH = 32
Features = Callable[[np.ndarray], np.ndarray]


def show_neighbours(
    opened: OpenModel,
    options: VisualizationOptions,
    results: Results,
    data: Path,
    weights: Path | None = None,
) -> Iterator[Path]:
    """Show each image beside the nearest of a data set, by pixels and by EfficientNet's features.

    data: a prepared data set, or a folder or npz of images. weights: the folder of networks.
    For comparison the distances of real images to their own nearest neighbours are written, too.
    """
    network = load_network("efficientnet", weights)
    start = opened.start(options.seeds or range(8))
    fakes = opened.rgb(opened.sampler.synthesize(start.w, start.seeds, start.noise).images)
    for name, features in (
        ("pixels", _as_vectors),
        ("features", lambda images: network.features(images)["pool"]),
    ):
        source = _open(data, opened.generator.canvas)
        found = nearest(fakes, _read(source, fakes.shape[1:3]), features, options.count)
        rows = [np.stack([fake, *[image for _, image in of]])
                for fake, of in zip(fakes, found, strict=True)]  # fmt: skip
        facts = {
            "data": str(data),
            "space": name,
            "images": start.names,
            "distances": [[distance for distance, _ in of] for of in found],
        }
        grid = make_grid(np.concatenate(rows), len(rows[0]))
        yield results.image(f"neighbours-{name}", grid, **facts)


def nearest(
    images: np.ndarray, others: Iterator[np.ndarray], features: Features, count: int
) -> list[list[tuple[float, np.ndarray]]]:
    """Return for each of `images` [N, H, W, 3] the nearest of `others`, as (distance, image).

    features: from images uint8 [B, H, W, 3] to vectors [B, D], in which distances are Euclidean.
    Only `count` images for each are kept in memory.
    """
    points = features(images).astype(np.float64)
    heaps: list[list] = [[] for _ in images]
    order = itertools.count()  # of equal distances, the first image
    while part := list(itertools.islice(others, READ_BATCH)):
        vectors = features(np.stack(part)).astype(np.float64)
        distances = np.linalg.norm(points[:, None] - vectors[None], axis=2)
        for column, image in enumerate(part):
            number = next(order)
            for heap, distance in zip(heaps, distances[:, column], strict=True):
                heapq.heappush(heap, (-distance, -number, image))
                if len(heap) > count:
                    heapq.heappop(heap)
    ordered = [sorted(heap, key=lambda item: (-item[0], -item[1])) for heap in heaps]
    return [[(float(-negative), image) for negative, _, image in heap] for heap in ordered]


def _as_vectors(images: np.ndarray) -> np.ndarray:
    """Pixels in 0..1; the distance is divided by the root of their number, so 1 is the largest."""
    return images.reshape(len(images), -1) / (255 * np.sqrt(images[0].size))


def _open(data: Path, canvas: Canvas) -> ImageSource:
    if holds_data_set(data):
        return DatasetImages(datasets.open_dataset(data, canvas.resolution), canvas=canvas)
    return open_images(data)


def _read(source: ImageSource, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield all images of a source, uint8 [H, W, 3], resized where they have another size."""
    for image in track(source.images(source.count), label="real images", total=source.count):
        image = to_rgb(np.asarray(image)[None])[0]
        if image.shape[:2] != size:
            resized = tf.image.resize(image, size, antialias=True)
            image = np.clip(np.rint(resized), 0, 255).astype(np.uint8)
        yield image
