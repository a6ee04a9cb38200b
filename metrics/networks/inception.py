"""The Inception network that FID and the Inception score are defined with."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from metrics.networks.building_blocks import (
    Convolution,
    fold_normalisation,
    resize_like_clean_fid,
    resize_like_tf1,
)
from metrics.networks.inception_graph import (
    CLASSES,
    FEATURES,
    GRAPH,
    Chain,
    Convolve,
    Fork,
    Pool,
    kernel_shapes,
)

PARTS = {"mean": "moving_mean", "variance": "moving_variance", "beta": "beta", "gamma": "gamma"}
POOLS = {"AVG": tf.nn.avg_pool2d, "MAX": tf.nn.max_pool2d}
LOGITS = "softmax/weights"


class InceptionV3(tf.Module):
    """weights: arrays under the names of the frozen graph: NAME/conv2d_params,
    NAME/batchnorm/{moving_mean,moving_variance,beta,gamma} (gamma: ones where absent),
    softmax/weights [2048, 1008]. Raises ValueError if one is missing or of another shape.
    """

    dimensions = {"pool_3": FEATURES, "probabilities": CLASSES}
    preprocessing = "TF1 bilinear to 299, (x - 128) / 128"

    def __init__(self, weights: Mapping[str, np.ndarray]):
        super().__init__()
        self.convolutions = {}
        for name, shape in kernel_shapes().items():
            kernel = _take(weights, f"{name}/conv2d_params", shape)
            parts = {
                part: _take(weights, f"{name}/batchnorm/{stored}", shape[3:])
                for part, stored in PARTS.items()
                if part != "gamma" or f"{name}/batchnorm/{stored}" in weights
            }
            self.convolutions[name] = Convolution(*fold_normalisation(kernel, **parts))
        logits = _take(weights, LOGITS, (FEATURES, CLASSES))
        self.logits = tf.Variable(logits, trainable=False, dtype=tf.float32)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255. The class scores have no bias, as in the official IS."""
        x = (resize_like_tf1(images, 299) - 128) / 128  # [B, 299, 299, 3]
        features = tf.reduce_mean(self._run(GRAPH, x), [1, 2])  # [B, 2048]
        logits = features @ self.logits  # [B, 1008]
        return {"pool_3": features, "logits": logits, "probabilities": tf.nn.softmax(logits)}

    def _run(self, chain: Chain, x: tf.Tensor) -> tf.Tensor:
        for step in chain:
            if isinstance(step, Convolve):
                convolution = self.convolutions[step.name]
                x = tf.nn.relu(convolution(x, stride=step.stride, padding=step.padding))
            elif isinstance(step, Pool):
                x = POOLS[step.kind](x, 3, step.stride, step.padding)
            elif isinstance(step, Fork):
                x = tf.concat([self._run(inner, x) for inner in step.chains], axis=-1)
        return x


class CleanInceptionV3(InceptionV3):
    """The same network on images that are resized as clean-fid does it."""

    preprocessing = "Pillow bicubic to 299 (clean-fid), (x - 128) / 128"

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255."""
        resized = tf.numpy_function(resize_like_clean_fid, [images, 299], tf.float32)
        return super().__call__(tf.ensure_shape(resized, [None, 299, 299, 3]))


def _take(weights: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    found = weights.get(name)
    if found is None:
        raise ValueError(f"{name} is missing")
    if found.shape != shape:
        raise ValueError(f"{name} is {list(found.shape)}, not {list(shape)}")
    return found
