"""Reads VGG16 and the channel weights of LPIPS from PyTorch files of various makers.

Their names differ (torchvision's `features.0.weight`, LPIPS' `net.slice1.0.weight`, NVIDIA's), the
shapes and the order do not; so layers are known by these, and anything else is refused.
"""

import re
from collections.abc import Mapping

import numpy as np

from metrics.networks.vgg16 import BLOCKS

_CHANNELS = {"block1": 64, "block2": 128, "block3": 256, "block4": 512, "block5": 512}
_NAMES = [f"{block}_conv{i + 1}" for block, count in BLOCKS.items() for i in range(count)]
_POOLED = (512, 7, 7)  # what fc1 sees, channels first

Layers = dict[str, tuple[np.ndarray, np.ndarray]]


def find_layers(tensors: Mapping[str, np.ndarray]) -> Layers:
    """Return (kernel, bias) of the convolutions, and of fc1 and fc2 where there are any.

    Raises ValueError if the convolutions are not VGG16's.
    """
    convolutions = _with_bias(tensors, lambda shape: len(shape) == 4 and shape[2:] == (3, 3))
    found = [kernel.shape[:2] for kernel, _ in convolutions]
    if found != _convolution_shapes():
        raise ValueError(f"{len(found)} convolutions, not the 13 of VGG16")
    layers = {
        name: (kernel.transpose(2, 3, 1, 0), bias)
        for name, (kernel, bias) in zip(_NAMES, convolutions, strict=True)
    }
    dense = _with_bias(tensors, lambda shape: len(shape) == 2)
    if len(dense) >= 2:
        (kernel, bias), second = dense[:2]
        rows = kernel.reshape(len(bias), *_POOLED).transpose(2, 3, 1, 0)  # [7, 7, 512, 4096]
        layers["fc1"] = (rows.reshape(-1, len(bias)), bias)
        layers["fc2"] = (second[0].T, second[1])
    return layers


def find_scales(tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return LPIPS' weights of the channels of the five blocks. Raises ValueError without them."""
    channels = list(_CHANNELS.values())
    heads = [
        tensors[name].reshape(-1)
        for name in _in_order(tensors)
        if tensors[name].shape in [(1, count, 1, 1) for count in channels]
    ][: len(channels)]  # some files have them twice
    if [len(head) for head in heads] != channels:
        raise ValueError("no channel weights of LPIPS")
    return heads


def _convolution_shapes() -> list[tuple[int, int]]:
    outputs = [_CHANNELS[name.partition("_")[0]] for name in _NAMES]
    return list(zip(outputs, [3, *outputs], strict=False))


def _with_bias(tensors: Mapping[str, np.ndarray], fits) -> list[tuple[np.ndarray, np.ndarray]]:
    names = [name for name in _in_order(tensors) if fits(tensors[name].shape)]
    biases = [f"{name.removesuffix('weight')}bias" for name in names]
    pairs = zip(names, biases, strict=True)
    return [(tensors[name], tensors[bias]) for name, bias in pairs if bias in tensors]


def _in_order(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Sort names as people do: conv2 before conv10."""
    parts = lambda name: re.split(r"(\d+)", name)  # noqa: E731
    return sorted(tensors, key=lambda n: [int(p) if p.isdigit() else p for p in parts(n)])
