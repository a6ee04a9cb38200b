"""EfficientNet-Lite0: a small ImageNet network that comes as a Python package, without a download.

It stands in for Inception where that cannot be fetched. Distances in its feature space are no FID
and are never called so.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dnnlib.ops import resize_antialiased
from metrics.networks.building_blocks import fold_normalisation

HALVING_BLOCKS = (1, 3, 5, 11)
BLOCKS = 16


class EfficientNetLite0(tf.Module):
    """weights: arrays under PyTorch's names, as in `efficientnet-lite0-57934424.pth`."""

    dimensions = {"pool": 1280, "probabilities": 1000}
    preprocessing = "antialiased bilinear to 224, (x - 127) / 128"

    def __init__(self, weights: Mapping[str, np.ndarray]):
        super().__init__()
        self.stem = _normalised(weights, "_conv_stem", "_bn0")
        self.blocks = []
        for i in range(BLOCKS):
            prefix = f"_blocks.{i}."
            expand = f"{prefix}_expand_conv"
            self.blocks.append(
                {
                    **({"expand": _normalised(weights, expand, f"{prefix}_bn0")} if i else {}),
                    "depthwise": _normalised(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1"),
                    "project": _normalised(weights, f"{prefix}_project_conv", f"{prefix}_bn2"),
                }
            )
        self.head = _normalised(weights, "_conv_head", "_bn1")
        self.kernel = tf.Variable(weights["_fc.weight"].T, trainable=False)
        self.bias = tf.Variable(weights["_fc.bias"], trainable=False)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255."""
        x = self.block_outputs(resize_antialiased(images, [224, 224]))[-1]
        features = tf.reduce_mean(tf.nn.relu6(self.head(x)), [1, 2])  # [B, 1280]
        return {
            "pool": features,
            "probabilities": tf.nn.softmax(features @ self.kernel + self.bias),  # [B, 1000]
        }

    def block_outputs(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Return what each block gives for images [B, H, W, 3], 0..255, of any size.

        Their strides are 2 before the first of HALVING_BLOCKS, and twice as much from each of these
        on.
        """
        x = tf.nn.relu6(self.stem((images - 127) / 128, stride=2))
        outputs = []
        for i, block in enumerate(self.blocks):
            y = tf.nn.relu6(block["expand"](x)) if "expand" in block else x
            stride = 2 if i in HALVING_BLOCKS else 1
            y = tf.nn.relu6(block["depthwise"](y, stride=stride))
            y = block["project"](y)
            x = x + y if y.shape[1:] == x.shape[1:] else y
            outputs.append(x)
        return outputs


class _Convolution:
    """Convolution with bias, depthwise if its kernel is [h, w, channels, 1].

    Its weights are constants of the graph, which oneDNN then packs once and not at each use; a 1x1
    convolution is a matrix product, which is faster where images are small. Together that is a
    third of the time of value and gradient for images of 64x64 pixels.
    """

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, *, depthwise: bool):
        self.kernel, self.bias, self.depthwise = kernel, bias, depthwise

    def __call__(self, x: tf.Tensor, *, stride: int = 1) -> tf.Tensor:
        height, width, inputs, outputs = self.kernel.shape
        if height == width == stride == 1:
            y = tf.reshape(x, [-1, inputs]) @ tf.constant(self.kernel[0, 0])
            y = tf.nn.bias_add(y, self.bias)
            return tf.reshape(y, [-1, *x.shape[1:3], outputs])
        convolve = tf.nn.depthwise_conv2d if self.depthwise else tf.nn.conv2d
        return convolve(x, tf.constant(self.kernel), [1, stride, stride, 1], "SAME") + self.bias


def _normalised(weights: Mapping[str, np.ndarray], convolution: str, norm: str) -> _Convolution:
    depthwise = "depthwise" in convolution
    kernel = weights[f"{convolution}.weight"]  # [out, in, h, w]; depthwise [channels, 1, h, w]
    order = [2, 3, 0, 1] if depthwise else [2, 3, 1, 0]
    return _Convolution(
        *fold_normalisation(
            kernel.transpose(order),
            mean=weights[f"{norm}.running_mean"],
            variance=weights[f"{norm}.running_var"],
            beta=weights[f"{norm}.bias"],
            gamma=weights[f"{norm}.weight"],
        ),
        depthwise=depthwise,
    )
