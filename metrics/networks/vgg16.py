"""VGG16 (Simonyan and Zisserman 2014), whose second dense layer precision and recall look at."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from metrics.networks.layers import Convolution, resize_like_tf1

BLOCKS = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}  # convolutions in each
MEAN_BGR = (103.939, 116.779, 123.68)


class VGG16(tf.Module):
    """weights: (kernel, bias) of each layer under Keras' layer names (block1_conv1 ... fc1, fc2).

    Raises KeyError if one is missing.
    """

    preprocessing = "TF1 bilinear to 224, BGR minus mean"

    def __init__(self, weights: Mapping[str, tuple[np.ndarray, np.ndarray]]):
        super().__init__()
        self.blocks = [
            [Convolution(*weights[f"{block}_conv{i + 1}"]) for i in range(count)]
            for block, count in BLOCKS.items()
        ]
        self.dense = [
            [tf.Variable(part, trainable=False, dtype=tf.float32) for part in weights[name]]
            for name in ("fc1", "fc2")
        ]
        self.dimensions = {"fc2": len(weights["fc2"][1])}  # 4096

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255. fc2 is taken after its ReLU."""
        x = resize_like_tf1(images, 224)[..., ::-1] - MEAN_BGR  # [B, 224, 224, 3]
        for block in self.blocks:
            for convolution in block:
                x = tf.nn.relu(convolution(x))
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(x, [-1, np.prod(x.shape[1:])])  # [B, 7 * 7 * 512]
        for kernel, bias in self.dense:
            x = tf.nn.relu(x @ kernel + bias)  # [B, 4096]
        return {"fc2": x}
