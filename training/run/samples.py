"""Grids of sample images: the same latents all through a run."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from dnnlib.images import crop_rows, save_image, to_uint8
from gansformer.generation import Sampler
from gansformer.generator import Generator
from gansformer.grids import make_attention_grid, make_grid
from gansformer.truncation import average_components, mapping_digest

ATTENTION_SAMPLES = 8


class SampleGrids:
    """Grids of one generator's images for seeds 0, 1, 2, ..., and of where components attend.

    ratio: height / width of the useful part of the images. labels: [rows * columns, label_dim] or
    None. psi: truncation towards the average of each component.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        columns: int,
        rows: int,
        psi: float,
        ratio: float = 1.0,
        labels: np.ndarray | None = None,
    ):
        self.generator, self.columns = generator, columns
        self.ratio, self.labels = ratio, labels
        self.count, self.psi = columns * rows, psi
        self.sampler = Sampler(generator, psi=psi)
        self._mapping = tf.function(generator.mapping, autograph=False)
        self._averaged = ""  # digest of the weights that the components' averages are of
        self.attention_sampler = None
        if generator.config.has_attention:
            self.attention_sampler = Sampler(generator, psi=psi, return_attention=True)

    def update_averages(self) -> None:
        """Give the generator its components' averages, anew if its weights have changed."""
        digest = mapping_digest(self.generator, self.labels)
        if digest != self._averaged:
            averages = average_components(self.generator, self.labels, self._mapping)
            self.generator.component_averages, self._averaged = averages, digest

    def make_images(self) -> np.ndarray:
        """Return the images of the grid, uint8 [rows * columns, H, W, C]."""
        images = to_uint8(self.sampler(range(self.count), self.labels).images)
        return crop_rows(images, self.ratio)

    def make_attention(self) -> np.ndarray | None:
        """Return the attention grid of the first samples; None: there is no attention."""
        if self.attention_sampler is None:
            return None
        count = min(ATTENTION_SAMPLES, self.count)
        out = self.attention_sampler(range(count), self.labels)
        if not out.attention:
            return None
        return make_attention_grid(out.images, out.attention, self.ratio)

    def save(self, directory: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Write NAME.png and, with attention, NAME-attention.png.

        Returns the grid [H, W, C] and the images in it [rows * columns, H, W, C], uint8.
        """
        if self.psi != 1:
            self.generator.truncation = "component"
            self.update_averages()
        images = self.make_images()
        grid = make_grid(images, self.columns)
        save_image(grid, directory / f"{name}.png")
        attention = self.make_attention()
        if attention is not None:
            save_image(attention, directory / f"{name}-attention.png")
        return grid, images


def pixel_distance(images: np.ndarray) -> float:
    """Return the root mean square distance of the pixels of two images of uint8 [N, H, W, C].

    In units of the range [-1, 1]. It falls to 0 when a generator collapses to one image.
    """
    if len(images) < 2:
        return 0.0
    values = images.astype(np.float32) / 127.5
    # Of two independent samples, the mean square of the difference is twice the variance.
    return float(np.sqrt(2 * values.var(axis=0, ddof=1).mean()))
