"""Sample sheets: the same latents all through a run."""

from pathlib import Path

import numpy as np

from dnnlib.images import (
    colour_attention,
    crop_rows,
    make_sheet,
    save_image,
    to_rgb,
    to_uint8,
)
from gansformer.generator import Generator
from gansformer.sampling import SeedSampler

ATTENTION_SAMPLES = 8


class SheetPainter:
    """Paints one generator's pictures for seeds 0, 1, 2, ..., and where its components attend.

    ratio: useful part of a padded square picture. labels: [rows * columns, label_dim] or None.
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
        self.generator, self.columns, self.ratio, self.labels = generator, columns, ratio, labels
        self.count = columns * rows
        self.sampler = SeedSampler(generator, psi=psi)
        self.attention_sampler = SeedSampler(generator, psi=psi, return_attention=True)

    def paint(self) -> np.ndarray:
        """Return the pictures of the sheet, uint8 [rows * columns, H, W, C]."""
        batches = self.sampler.batches(range(self.count), self.labels)
        images = np.concatenate([to_uint8(out.images) for _, out in batches])
        return crop_rows(images, self.ratio)

    def paint_attention(self) -> np.ndarray | None:
        """Return the attention sheet of the first samples; None: there is no attention."""
        count = min(ATTENTION_SAMPLES, self.count)
        ((_, out),) = self.attention_sampler.batches(range(count), self.labels)
        return attention_sheet(out.images, out.attention, self.ratio) if out.attention else None

    def save(self, directory: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Write NAME.png and, with attention, NAME-attention.png; return the first and its
        pictures."""
        images = self.paint()
        sheet = make_sheet(images, self.columns)
        save_image(sheet, directory / f"{name}.png")
        attention = self.paint_attention()
        if attention is not None:
            save_image(attention, directory / f"{name}-attention.png")
        return sheet, images


def pixel_distance(images: np.ndarray) -> float:
    """Return the root mean square distance of the pixels of two pictures of uint8 [N, H, W, C].

    In units of the range [-1, 1]. It falls to 0 when a generator collapses onto one picture.
    """
    if len(images) < 2:
        return 0.0
    values = images.astype(np.float32) / 127.5
    # Of two independent samples, the mean square of the difference is twice the variance.
    return float(np.sqrt(2 * values.var(axis=0, ddof=1).mean()))


def attention_sheet(images: np.ndarray, attention: list[np.ndarray], ratio: float) -> np.ndarray:
    """Return one row for each sample: picture, then for each grid size where components attend.

    images: float [B, H, W, C]; attention: [B, A, h, w, k] for each layer. A map shows the last
    layer at its size, heads averaged, in the colour of the component that is attended to most.
    """
    size = images.shape[1:3]
    last = {maps.shape[2]: maps for maps in attention}
    columns = [to_rgb(to_uint8(images))]
    columns += [colour_attention(maps.mean(axis=1), size) for maps in last.values()]
    columns = [crop_rows(column, ratio) for column in columns]
    sheet = np.stack(columns, axis=1)  # [B, columns, H, W, 3]
    return make_sheet(sheet.reshape(-1, *sheet.shape[2:]), len(columns))
