"""VGG16 and LPIPS in PyTorch files of various makers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metrics.networks.network import FeatureNetwork
from metrics.networks.vgg16 import LPIPS, VGG16, normalise_like_torch
from metrics.networks.vgg16_files import find_layers, find_scales
from tests.golden_files import relative_error

CHANNELS = (64, 64, 128, 128, 256, 256, 256, *[512] * 6)


POOLED_AFTER = (1, 3, 6, 9, 12)  # number of the last convolution of each block


@pytest.fixture(scope="module")
def tensors():
    """A state dictionary under torchvision's names, fc1 and fc2 narrow, and LPIPS' five heads."""
    random = np.random.default_rng(0)
    tensors, number, inputs = {}, 0, 3
    for i, outputs in enumerate(CHANNELS):
        kernel = random.normal(size=[outputs, inputs, 3, 3]) * np.sqrt(2 / inputs / 9)
        tensors[f"features.{number}.weight"] = kernel
        tensors[f"features.{number}.bias"] = random.normal(size=outputs) / 10
        number, inputs = number + (3 if i in POOLED_AFTER else 2), outputs
    for name, shape in (("classifier.0", [9, 512 * 49]), ("classifier.3", [7, 9])):
        tensors[f"{name}.weight"] = random.normal(size=shape) / np.sqrt(shape[1])
        tensors[f"{name}.bias"] = random.normal(size=shape[0])
    for i, channels in enumerate((64, 128, 256, 512, 512)):
        tensors[f"lin{i}.model.1.weight"] = random.uniform(size=[1, channels, 1, 1])
    shuffled = random.permutation(sorted(tensors))  # the order in the file does not count
    return {name: tensors[name].astype(np.float32) for name in shuffled}


def block_outputs(tensors, images):
    """The five blocks by Keras' layers; images normalised as torchvision does."""
    x = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    names = sorted((n for n in tensors if n[:8] == "features"), key=lambda n: int(n.split(".")[1]))
    maps = []
    for i, name in enumerate(name for name in names if name.endswith("weight")):
        layer = keras.layers.Conv2D(CHANNELS[i], 3, padding="same", activation="relu")
        layer.build(x.shape)
        bias = tensors[name.replace("weight", "bias")]
        layer.set_weights([tensors[name].transpose(2, 3, 1, 0), bias])
        x = layer(x)
        if i in POOLED_AFTER:
            maps.append(x.numpy())
            x = keras.layers.MaxPooling2D()(x)
    return maps


def random_images(count, size):
    return np.random.default_rng(size).integers(0, 256, [count, size, size, 3], dtype=np.uint8)


def test_vgg16_of_torchvision(tensors):
    network = FeatureNetwork("vgg16", VGG16(find_layers(tensors), normalise_like_torch), "")
    images = random_images(1, 224)
    maps = block_outputs(tensors, images)[-1]
    pooled = maps.reshape(1, 7, 2, 7, 2, 512).max(axis=(2, 4)).transpose(0, 3, 1, 2)  # as in torch
    x = pooled.reshape(1, -1)
    for name in ("classifier.0", "classifier.3"):
        x = np.maximum(x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"], 0)
    assert (x > 0).any() and network.dimensions == {"fc2": 7}
    assert relative_error(network.features(images)["fc2"], x) < 1e-4


def test_lpips_by_its_definition(tensors):
    network = FeatureNetwork("lpips", LPIPS(find_layers(tensors), find_scales(tensors)), "")
    first, second = random_images(2, 48).astype(np.float32), random_images(2, 49)[:, :48, :48]
    expected = np.zeros(2)
    both = [block_outputs(tensors, images) for images in (first, second)]
    for i, (x, y) in enumerate(zip(*both, strict=True)):
        x, y = (m / np.sqrt((m.astype(np.float64) ** 2).sum(-1, keepdims=True)) for m in (x, y))
        weights = tensors[f"lin{i}.model.1.weight"].ravel()
        expected += ((x - y) ** 2 @ weights).mean(axis=(1, 2))
    found = network.squared_distances("embedding", first, tf.cast(second, tf.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    same = network.squared_distances("embedding", first, first)
    np.testing.assert_array_equal(same, 0)


def test_heads_that_are_there_twice(tensors):
    twice = {name.replace("lin", "lins."): value for name, value in tensors.items()} | tensors
    for found, expected in zip(find_scales(twice), find_scales(tensors), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "missing, reason", [("features.0", "12 convolutions"), ("lin3", "no channel weights")]
)
def test_other_files_are_refused(tensors, missing, reason):
    part = {name: value for name, value in tensors.items() if not name.startswith(missing)}
    with pytest.raises(ValueError, match=reason):
        LPIPS(find_layers(part), find_scales(part))
    with pytest.raises(ValueError, match="negative"):
        LPIPS(find_layers(tensors), [-scale for scale in find_scales(tensors)])
