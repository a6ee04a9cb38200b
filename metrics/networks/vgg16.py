"""VGG16 (Simonyan and Zisserman 2014): its second dense layer, and the distance LPIPS."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from metrics.networks.building_blocks import Convolution, resize_like_tf1

BLOCKS = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}  # convolutions in each
MEAN_BGR = (103.939, 116.779, 123.68)
MEAN_RGB, DEVIATION_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Layers = Mapping[str, tuple[np.ndarray, np.ndarray]]


def normalise_like_caffe(images: tf.Tensor) -> tf.Tensor:
    """Pixels as the original weights want them, which Keras has."""
    return images[..., ::-1] - MEAN_BGR


def normalise_like_torch(images: tf.Tensor) -> tf.Tensor:
    """Pixels as torchvision's weights want them, and those of LPIPS."""
    return (images / 255 - MEAN_RGB) / DEVIATION_RGB


class Convolutions(tf.Module):
    """layers: (kernel, bias) under Keras' names. Raises KeyError if one is missing."""

    def __init__(self, layers: Layers):
        super().__init__()
        self.blocks = [
            [Convolution(*layers[f"{block}_conv{i + 1}"]) for i in range(count)]
            for block, count in BLOCKS.items()
        ]

    def __call__(self, x: tf.Tensor) -> list[tf.Tensor]:
        """Return what comes out of the five blocks, after the last ReLU and before the pool."""
        maps = []
        for block in self.blocks:
            x = tf.nn.max_pool2d(x, 2, 2, "VALID") if maps else x
            for convolution in block:
                x = tf.nn.relu(convolution(x))
            maps.append(x)
        return maps


class VGG16(tf.Module):
    """layers: (kernel, bias) of each layer under Keras' layer names (block1_conv1 ... fc1, fc2).

    Raises KeyError if one is missing.
    """

    def __init__(self, layers: Layers, normalise: Callable = normalise_like_caffe):
        super().__init__()
        self.convolutions, self._normalise = Convolutions(layers), normalise
        self.dense = [
            [tf.Variable(part, trainable=False, dtype=tf.float32) for part in layers[name]]
            for name in ("fc1", "fc2")
        ]
        self.dimensions = {"fc2": len(layers["fc2"][1])}  # 4096
        caffe = normalise is normalise_like_caffe
        pixels = "BGR minus mean" if caffe else "RGB minus mean, by deviation"
        self.preprocessing = f"TF1 bilinear to 224, {pixels}"

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255. fc2 is taken after its ReLU."""
        x = self.convolutions(self._normalise(resize_like_tf1(images, 224)))[-1]
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # [B, 7, 7, 512]
        x = tf.reshape(x, [-1, np.prod(x.shape[1:])])
        for kernel, bias in self.dense:
            x = tf.nn.relu(x @ kernel + bias)  # [B, 4096]
        return {"fc2": x}


class LPIPS(tf.Module):
    """Learned perceptual similarity (Zhang et al. 2018), version 0.1, as an embedding.

    The squared Euclidean distance of two images' embeddings is their LPIPS distance.
    scales: for each block, the weights [C] of its channels, none negative.
    """

    dimensions: Mapping[str, int] = {}  # the embedding's length depends on the images' size
    preprocessing = "RGB minus mean, by deviation"

    def __init__(self, layers: Layers, scales: Sequence[np.ndarray]):
        super().__init__()
        self.convolutions = Convolutions(layers)
        if min(scale.min() for scale in scales) < 0:
            raise ValueError("negative weights of channels")
        self.roots = [
            tf.Variable(np.sqrt(scale), trainable=False, dtype=tf.float32) for scale in scales
        ]

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255, H and W 16 or more."""
        maps = self.convolutions(normalise_like_torch(images))
        parts = []
        for x, root in zip(maps, self.roots, strict=True):  # Eq. 1
            unit = x / (tf.norm(x, axis=-1, keepdims=True) + 1e-10)
            places = tf.cast(tf.shape(x)[1] * tf.shape(x)[2], tf.float32)
            parts.append(tf.reshape(unit * root / tf.sqrt(places), [tf.shape(x)[0], -1]))
        return {"embedding": tf.concat(parts, axis=1)}
