"""Laying out images in grids, and colouring where components attend."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dnnlib.images import crop_rows, to_pil, to_rgb, to_uint8


def make_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay out images uint8 [N, H, W, C] in rows of `columns`; missing ones at the end are white."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    grid = np.full((rows * columns, height, width, channels), 255, np.uint8)
    grid[:count] = images
    grid = grid.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


def grid_image(images: np.ndarray, columns: int, *, scale: int = 1) -> Image.Image:
    """Return make_grid as Pillow's image, for notebooks; each pixel is `scale` times as large."""
    grid = np.repeat(np.repeat(make_grid(images, columns), scale, axis=0), scale, axis=1)
    return to_pil(grid)


def make_attention_grid(images: np.ndarray, attention: list[np.ndarray], ratio: float):
    """Return one row for each image: the image, then where components attend at each resolution.

    images: float [B, H, W, C]; attention: [B, A, h, w, k] for each layer. A map shows the last
    layer of its resolution, averaged over heads, in the colour of the component that each position
    attends to most. ratio: height / width of the useful part of the images.
    """
    size = images.shape[1:3]
    last = {maps.shape[2]: maps for maps in attention}
    columns = [to_rgb(to_uint8(images))]
    columns += [colour_attention(maps.mean(axis=1), size) for maps in last.values()]
    columns = [crop_rows(column, ratio) for column in columns]
    tiles = np.stack(columns, axis=1)  # [B, columns, H, W, 3]
    return make_grid(tiles.reshape(-1, *tiles.shape[2:]), len(columns))


def colour_attention(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Colour each position by the component that it attends to most, uint8 [B, H, W, 3].

    maps: attention probabilities [B, h, w, k]. Enlarged to `size` (H, W) by repetition.
    """
    colours = np.rint(component_colours(maps.shape[-1]) * 255).astype(np.uint8)
    return enlarge(colours[maps.argmax(axis=-1)], size)


def component_colours(count: int) -> np.ndarray:
    """Return `count` colours [count, 3] in 0..1, evenly spaced in hue."""
    hues = (np.arange(count) / count + 0.01) % 1.0
    return np.array([colorsys.hls_to_rgb(hue, 0.6, 0.65) for hue in hues], np.float32)


def enlarge(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge maps [B, h, w, ...] to `size` (H, W) by repetition."""
    rows, columns = size[0] // maps.shape[1], size[1] // maps.shape[2]
    return np.repeat(np.repeat(maps, rows, axis=1), columns, axis=2)


def mean_attention(attention: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Average maps [B, A, h, w, k] over layers and heads, at `size`: [B, H, W, k]."""
    return np.mean([enlarge(maps.mean(axis=1), size) for maps in attention], axis=0)


def overlay(images: np.ndarray, colours: np.ndarray, strength: float = 0.5) -> np.ndarray:
    """Lay colours uint8 [B, H, W, 3] over images uint8 [B, H, W, 3], which stay visible."""
    mixed = (1 - strength) * images.astype(np.float32) + strength * colours
    return np.rint(mixed).astype(np.uint8)


def heat(values: np.ndarray, highest: float | None = None) -> np.ndarray:
    """Colour values from 0 (black) by red and yellow to `highest` (white), uint8 [..., 3].

    highest: None for the largest of them.
    """
    highest = float(values.max()) if highest is None else highest
    scaled = np.clip(values / max(highest, 1e-12), 0, 1)[..., None] * 3
    return np.rint(np.clip(scaled - np.arange(3), 0, 1) * 255).astype(np.uint8)


def legend(components: Sequence[int], count: int, height: int, width: int) -> np.ndarray:
    """Return a tile for each of some components: its number on its colour, uint8 [N, H, W, 3].

    count: k, of all components; component k itself is the global latent, which is grey.
    """
    colours = np.rint(component_colours(count) * 255).astype(np.uint8)
    tiles = []
    for component in components:
        colour = tuple(map(int, colours[component])) if component < count else (128, 128, 128)
        tile = Image.new("RGB", (width, height), colour)
        text = str(component) if component < count else "global"
        ImageDraw.Draw(tile).text((width / 2, height / 2), text, fill=(0, 0, 0), anchor="mm")
        tiles.append(np.asarray(tile))
    return np.stack(tiles)
