"""Positional encodings of image grids, which tell attention where a feature stands."""

import numpy as np
import tensorflow as tf

from gansformer.canvas import Canvas
from gansformer.variables import Scope


def sinusoidal_encoding(size: int, dim: int, directions: int = 2) -> np.ndarray:
    """Return the encoding of a size x size grid, float32 [size, size, channels], channels <= dim.

    With 2 directions: sin and cos of x at frequencies 10000^(-4i/dim), then the same of y. Else the
    same of the coordinate along each direction j pi / directions.
    """
    x, y = _coordinates(size)
    if directions == 2:
        lines, count = [x, y], dim // 4
        frequencies = 10000.0 ** (-4 * np.arange(count) / dim)
    else:
        angles = np.arange(directions) * np.pi / directions
        lines, count = [x * np.cos(a) + y * np.sin(a) for a in angles], dim // (2 * directions)
        frequencies = 10000.0 ** (-2 * directions * np.arange(count) / dim)
    waves = [wave(line[..., None] * frequencies) for line in lines for wave in (np.sin, np.cos)]
    return np.concatenate(waves, axis=-1).astype(np.float32)


def linear_encoding(size: int, embedding: tf.Tensor) -> tf.Tensor:
    """Return [size, size, n m]: for each of n directions, coordinate times embedding [n, m]."""
    x, y = _coordinates(size)
    directions = embedding.shape[0]
    angles = np.arange(directions) * np.pi / directions
    lines = np.stack([x * np.cos(a) + y * np.sin(a) for a in angles], axis=-1)  # [s, s, n]
    encoding = lines.astype(np.float32)[..., None] * embedding  # [s, s, n, m]
    return tf.reshape(encoding, [size, size, -1])


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-1, 1, size) if size > 1 else np.array([-1.0])
    x, y = np.meshgrid(line, line)
    return x, y


class GridPositions(tf.Module):
    """Encodings of the grids of all resolutions, learned or not.

    kind: "sinus", "linear", "trainable" (columns and rows apart) or "trainable2d".
    dim:  width of an encoding; `width` is what results ("sinus" may give a little less).
    """

    def __init__(
        self, scope: Scope, canvas: Canvas, *, kind: str, dim: int, init: str, directions: int
    ):
        super().__init__()
        self.canvas = canvas
        self.kind = kind
        self.dim = dim
        self.directions = directions
        draw = {"uniform": Scope.uniform, "normal": Scope.normal}[init]
        self.embeddings = [
            self._make(scope / f"pos_emb{log2}", 2**log2, draw) for log2 in range(canvas.log2 + 1)
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
        """Return the encoding of the grid of 2^log2 columns, [rows * columns, width]."""
        size = 2**log2
        encoding = self._square(size, self.embeddings[log2])[self.canvas.rows(size)]
        return tf.reshape(encoding, [-1, encoding.shape[-1]])

    def _square(self, size: int, embedding: dict[str, tf.Variable]) -> tf.Tensor:
        if self.kind == "sinus":
            return tf.constant(sinusoidal_encoding(size, self.dim, self.directions))
        if self.kind == "linear":
            return linear_encoding(size, embedding["emb"])
        if self.kind == "trainable":
            columns = tf.tile(embedding["x_emb"][None], [size, 1, 1])  # [s, s, p/2]
            rows = tf.tile(embedding["y_emb"][:, None], [1, size, 1])
            return tf.concat([columns, rows], axis=-1)
        return tf.convert_to_tensor(embedding["emb"])
