"""An affine transformation of images by one resampling, Karras et al. (2020), appendix B.

Enlarge twice with the wavelet filter sym6, look positions up bilinearly, shrink again. sym6 being
orthogonal, an image that does not move is not changed.

The paper pads by as much as the transformations at hand may reach. Here positions beyond a narrow
margin are reflected back into the image before they are looked up: the same image, with sizes
that are known when the graph is traced, however far the image moves.

TensorFlow's own image operations lack second derivatives, which R1 needs; gather has all.
"""

import numpy as np
import tensorflow as tf

from dnnlib.ops import upfirdn2d
from training.augmentation.geometric import Affine
from training.augmentation.reflection import fold
from training.augmentation.wavelets import SYM6

TAPS = len(SYM6)
MARGIN = TAPS // 2  # pixels of reflected padding that the filters reach at the edges
# Where a pixel comes to lie after SYM6, to a multiple of 1/64: positions then are exact in float32.
DELAY = float(np.round(np.sum(np.arange(TAPS) * SYM6) / np.sum(SYM6) * 64) / 64)


def transform(images: tf.Tensor, affine: Affine) -> tf.Tensor:
    """Move the content of each image [B, H, W, C] about its centre; the outside is reflected."""
    _, height, width, channels = images.shape
    # Sample n of the enlarged image lies at pixel (n - first) / 2.
    first = 2 * MARGIN + DELAY - (TAPS - 1)
    y, x = _positions(affine, height, width, first)  # [B, N]
    samples = bilinear(_enlarge(images), y, x)  # [B, N, C]
    samples = tf.reshape(samples, [-1, _needed(height), _needed(width), channels])
    return _shrink(samples)


def _needed(size: int) -> int:
    """Number of samples from which SYM6 makes `size` pixels."""
    return 2 * (size - 1) + TAPS


def _enlarge(images: tf.Tensor) -> tf.Tensor:
    """Return twice as many samples of the padded image: [B, 2H + 13, 2W + 13, C]."""
    if min(images.shape[1:3]) <= MARGIN:
        size = "x".join(map(str, images.shape[1:3]))
        raise ValueError(f"images of {size} are too small to transform; leave out geometric")
    images = tf.pad(images, [[0, 0], [MARGIN, MARGIN], [MARGIN, MARGIN], [0, 0]], mode="REFLECT")
    taps = SYM6 * 2**0.5  # sum 2, of which every other tap meets a pixel
    return upfirdn2d(images, np.outer(taps, taps), up=2)


def _shrink(samples: tf.Tensor) -> tf.Tensor:
    taps = SYM6[::-1] / 2**0.5
    return upfirdn2d(samples, np.outer(taps, taps), down=2)


def _positions(affine: Affine, height: int, width: int, first: float):
    """Return which sample of the enlarged image each sample of the result is, (y, x), [B, N]."""
    start = first - DELAY  # what _shrink needs for the first pixel begins here
    middle = [first + height - 1, first + width - 1]
    y, x = tf.meshgrid(
        start - middle[0] + tf.range(_needed(height) * 1.0),
        start - middle[1] + tf.range(_needed(width) * 1.0),
        indexing="ij",
    )
    outputs = tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1])])  # [2, N]
    outputs = outputs - 2 * affine.shift[:, :, None]  # [B, 2, N]
    inverse = _inverse(affine.linear)[..., None]  # [B, 2, 2, 1]
    x = inverse[:, 0, 0] * outputs[:, 0] + inverse[:, 0, 1] * outputs[:, 1] + middle[1]
    y = inverse[:, 1, 0] * outputs[:, 0] + inverse[:, 1, 1] * outputs[:, 1] + middle[0]
    return _stay_inside(y, height, first), _stay_inside(x, width, first)


def _stay_inside(n: tf.Tensor, size: int, first: float) -> tf.Tensor:
    """Leave positions that lie in the padded image, reflect all others into the image."""
    is_inside = (n >= 0) & (n <= 2 * size + TAPS)
    return tf.where(is_inside, n, first + fold(n - first, 2 * size - 1))


def _inverse(matrix: tf.Tensor) -> tf.Tensor:
    """Invert 2 x 2 matrices, exactly where they are identities."""
    (a, b), (c, d) = (tf.unstack(row, axis=1) for row in tf.unstack(matrix, axis=1))
    adjugate = tf.stack([tf.stack([d, -b], axis=1), tf.stack([-c, a], axis=1)], axis=1)
    return adjugate / (a * d - b * c)[:, None, None]


def bilinear(images: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Interpolate images [B, H, W, C] at positions [B, N] within them -> [B, N, C].

    Differentiable with respect to the images.
    """
    _, height, width, channels = images.shape
    top = tf.clip_by_value(tf.floor(y), 0, height - 2)
    left = tf.clip_by_value(tf.floor(x), 0, width - 2)
    down, right = y - top, x - left
    # One list of all images' pixels: gathering with batch_dims has a slow gradient.
    pixels = tf.reshape(images, [-1, channels])
    image = tf.range(tf.shape(y)[0])[:, None] * (height * width)
    corner = image + tf.cast(top, tf.int32) * width + tf.cast(left, tf.int32)
    weights = {
        0: (1 - down) * (1 - right),
        1: (1 - down) * right,
        width: down * (1 - right),
        width + 1: down * right,
    }
    return tf.add_n(
        [
            tf.gather(pixels, corner + offset) * tf.stack([weight] * channels, axis=2)
            for offset, weight in weights.items()
        ]
    )
