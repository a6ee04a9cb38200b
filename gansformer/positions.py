"""Positional encodings of image grids, which tell attention where a feature stands."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from gansformer.canvas import Canvas
from gansformer.variables import Scope


def sinusoidal_encoding(size: int, dim: int, directions: int) -> np.ndarray:
    """Return the encoding of a size x size grid, float32 [size, size, channels], channels <= dim.

    sin and cos of the coordinate along each direction j pi / directions, at frequencies
    10000^(-2 directions i / dim).
    """
    x, y = _coordinates(size)
    angles = np.arange(directions) * np.pi / directions
    lines = [x * np.cos(a) + y * np.sin(a) for a in angles]
    waves = [_waves(line, dim // (2 * directions), 2 * directions / dim) for line in lines]
    return np.concatenate(waves, axis=-1)


def _waves(line: np.ndarray, count: int, step: float) -> np.ndarray:
    """Return sin and cos of `line` [...] at frequencies 10000^(-step i), float32 [..., 2 count]."""
    phases = line[..., None] * 10000.0 ** (-step * np.arange(count))
    return np.concatenate([np.sin(phases), np.cos(phases)], axis=-1).astype(np.float32)


def linear_encoding(size: int, embedding: tf.Tensor) -> tf.Tensor:
    """Return [size, size, n m]: for each of n directions, coordinate times embedding [n, m]."""
    x, y = _coordinates(size)
    directions = embedding.shape[0]
    angles = np.arange(directions) * np.pi / directions
    lines = np.stack([x * np.cos(a) + y * np.sin(a) for a in angles], axis=-1)  # [s, s, n]
    encoding = lines.astype(np.float32)[..., None] * embedding  # [s, s, n, m]
    return tf.reshape(encoding, [size, size, -1])


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(_line(size), _line(size))
    return x, y


def _line(size: int) -> np.ndarray:
    return np.linspace(-1, 1, size) if size > 1 else np.array([-1.0])


class GridPositions(tf.Module):
    """Encodings of the grids of all resolutions, learned or not.

    kind: "sinus", "linear", "trainable" (of columns and of rows) or "trainable2d".
    dim:  width of an encoding; `width` is what results ("sinus" may give a little less).
    sizes: log2 of the grids that have encodings; None: all.
    """

    def __init__(
        self,
        scope: Scope,
        canvas: Canvas,
        *,
        kind: str,
        dim: int,
        init: str,
        directions: int,
        sizes: Iterable[int] | None = None,
    ):
        super().__init__()
        self.canvas = canvas
        self.kind = kind
        self.dim = dim
        self.directions = directions
        draw = {"uniform": Scope.uniform, "normal": Scope.normal}[init]
        sizes = range(canvas.log2 + 1) if sizes is None else sizes
        self.embeddings = [
            self._make(scope / f"pos_emb{log2}", 2**log2, draw) if log2 in sizes else {}
            for log2 in range(canvas.log2 + 1)
        ]

    @property
    def width(self) -> int:
        """Number of channels of an encoding."""
        directions = self.directions
        parts = {"sinus": 2 * directions, "linear": directions, "trainable": 2, "trainable2d": 1}[
            self.kind
        ]
        return self.dim // parts * parts

    def _make(self, scope: Scope, size: int, draw) -> dict[str, tf.Variable]:
        if self.kind == "linear":
            return {"emb": scope.uniform("emb", [self.directions, self.dim // self.directions])}
        if self.kind == "trainable":
            return {name: draw(scope, name, [size, self.dim // 2]) for name in ("x_emb", "y_emb")}
        if self.kind == "trainable2d":
            return {"emb": draw(scope, "emb", [size, size, self.dim])}
        return {}

    def __call__(self, log2: int) -> tf.Tensor:
        """Return the encodings of the grid of 2^log2 columns, row after row: [H W, p]."""
        rows, columns = self.rows_and_columns(log2)
        (height, p_rows), (width, p_columns) = rows.shape, columns.shape
        across = tf.broadcast_to(columns[None], [height, width, p_columns])
        down = tf.broadcast_to(rows[:, None], [height, width, p_rows])
        return tf.reshape(tf.concat([across, down], axis=-1), [height * width, self.width])

    def rows_and_columns(self, log2: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return [H, p1] and [W, p2]: position (r, n) has the encoding [columns[n] | rows[r]].

        Encodings that are not of this form are those of a grid of H W rows and one column.
        """
        size, embedding = 2**log2, self.embeddings[log2]
        rows = self.canvas.rows(size)
        if self.kind == "trainable":
            return embedding["y_emb"][rows], tf.convert_to_tensor(embedding["x_emb"])
        if self.kind == "sinus" and self.directions == 2:
            waves = tf.constant(_waves(_line(size), self.dim // 4, 4 / self.dim))
            return waves[rows], waves
        encodings = self._square(size, embedding)[rows]
        return tf.reshape(encodings, [-1, encodings.shape[-1]]), tf.zeros([1, 0])

    def _square(self, size: int, embedding: dict[str, tf.Variable]) -> tf.Tensor:
        if self.kind == "sinus":
            return tf.constant(sinusoidal_encoding(size, self.dim, self.directions))
        if self.kind == "linear":
            return linear_encoding(size, embedding["emb"])
        return tf.convert_to_tensor(embedding["emb"])
