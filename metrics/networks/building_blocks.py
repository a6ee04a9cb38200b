"""What the feature networks are made of: convolutions with folded normalisation, and resizing."""

import numpy as np
import tensorflow as tf
from PIL import Image


def resize_like_tf1(images: tf.Tensor, size: int) -> tf.Tensor:
    """TF1's bilinear resize (align_corners=False, no half-pixel centres, no antialiasing).

    Pixel i of the result lies at i * H / size of the source. images: [B, H, W, C] float32.
    """
    return tf.raw_ops.ResizeBilinear(
        images=images, size=[size, size], align_corners=False, half_pixel_centers=False
    )


def resize_like_clean_fid(images: np.ndarray, size: int) -> np.ndarray:
    """Pillow's antialiased bicubic resize of each channel in float32, clipped to 0..255.

    Parmar et al. 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation".
    images: [B, H, W, C] float32 -> [B, size, size, C].
    """

    def resize(channel: np.ndarray) -> np.ndarray:
        image = Image.fromarray(np.ascontiguousarray(channel))
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))

    channels = [[resize(image[..., c]) for c in range(image.shape[-1])] for image in images]
    return np.clip(np.moveaxis(np.array(channels, np.float32), 1, -1), 0, 255)


def fold_normalisation(
    kernel: np.ndarray,
    *,
    mean: np.ndarray,
    variance: np.ndarray,
    beta: np.ndarray,
    gamma: np.ndarray | None = None,
    epsilon: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (kernel, bias) that do what convolution and batch normalisation do one after another.

    kernel: [h, w, in, out], or [h, w, channels, 1] of a depthwise convolution.
    """
    scale = 1 / np.sqrt(variance.astype(np.float64) + epsilon)
    scale = scale if gamma is None else scale * gamma
    depthwise = kernel.shape[2] == len(scale) and kernel.shape[3] == 1
    folded = kernel * (scale[:, None] if depthwise else scale)
    return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)


class Convolution(tf.Module):
    """Convolution with bias; what follows is the caller's."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray):
        super().__init__()
        self.kernel = tf.Variable(kernel, trainable=False, dtype=tf.float32)
        self.bias = tf.Variable(bias, trainable=False, dtype=tf.float32)

    def __call__(self, x: tf.Tensor, *, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
        return tf.nn.conv2d(x, self.kernel, [1, stride, stride, 1], padding) + self.bias
