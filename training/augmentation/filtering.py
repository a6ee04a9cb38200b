"""Image-space filtering of ADA: four frequency bands, amplified or weakened.

Karras et al. (2020), appendix B. The bands are [0, pi/8], [pi/8, pi/4], [pi/4, pi/2] and
[pi/2, pi]. With the wavelet sym2, P(z) = H(z) H(1/z) / 2 passes the lower half of the spectrum and
1 - P(z) the upper half; P(z^2) and P(z^4) divide the lower half again. The bands sum to 1, so a
gain of 1 for all of them changes nothing.
"""

from functools import lru_cache

import numpy as np
import tensorflow as tf

from dnnlib.random_streams import RandomStream
from training.augmentation.wavelets import SYM2

LOG2_GAIN = 1.0  # standard deviation
POWER = np.array([10, 1, 1, 1], np.float32) / 13  # of natural images in each band, as expected


def draw_gains(stream: RandomStream, p: tf.Tensor) -> tf.Tensor:
    """Draw the gain of each band for each image of the stream, [B, 4].

    Each band is amplified with probability p; every time, all are scaled to keep the power.
    """
    happens = stream.fold("uniform").uniform([4]) < p
    amplified = 2.0 ** (stream.fold("normal").normal([4]) * LOG2_GAIN)
    gains = tf.linalg.diag(tf.where(happens, amplified, 1.0) - 1) + 1  # [B, 4, 4], one in a row
    gains /= tf.sqrt(tf.reduce_sum(POWER * tf.square(gains), axis=2, keepdims=True))
    return tf.reduce_prod(gains, axis=1)


def filter_bands(images: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
    """Filter rows and columns with the sum of gain times band; edges are reflected.

    images: [B, H, W, C].  gains: [B, 4].
    """
    rows = tf.einsum("bi,ivh->bvh", gains, band_matrices(images.shape[1]))
    columns = tf.einsum("bi,iuw->buw", gains, band_matrices(images.shape[2]))
    images = tf.einsum("bvh,bhwc->bvwc", rows, images)
    return tf.einsum("buw,bvwc->bvuc", columns, images)


@lru_cache
def band_matrices(size: int) -> np.ndarray:
    """Return each band's filter as a matrix that acts on a line of pixels, [4, size, size]."""
    filters = band_filters()
    reach = filters.shape[1] // 2
    matrices = np.zeros([len(filters), size, size])
    reflected = np.pad(np.arange(size), reach, mode="reflect")
    for to in range(size):
        for tap in range(filters.shape[1]):
            matrices[:, to, reflected[to + tap]] += filters[:, tap]
    return matrices.astype(np.float32)


def band_filters() -> np.ndarray:
    """Return the symmetric impulse response of each band, lowest first, [4, 43]."""
    half = np.convolve(SYM2, SYM2[::-1]) / 2  # P(z), 7 taps
    lows = [np.ones(1)]  # the products of P(z), P(z^2), P(z^4)
    for level in range(3):
        spread = np.zeros((len(half) - 1) * 2**level + 1)
        spread[:: 2**level] = half
        lows.append(np.convolve(lows[-1], spread))
    length = len(lows[-1])
    lows = [np.pad(low, (length - len(low)) // 2) for low in lows]
    return np.stack([lows[3], lows[2] - lows[3], lows[1] - lows[2], lows[0] - lows[1]])
