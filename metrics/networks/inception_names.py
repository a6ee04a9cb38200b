"""From the names in PyTorch files of the Inception network to those of the frozen graph."""

import re
from collections.abc import Mapping

import numpy as np

from metrics.networks.inception import LOGITS
from metrics.networks.inception_graph import kernel_shapes

_STEM = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}
_BLOCKS = dict(
    zip(
        ["mixed", *(f"mixed_{i}" for i in range(1, 11))],
        ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"],
        strict=True,
    )
)
_BRANCHES = {  # by the first digit of torchvision's block name, or by the whole name
    "5": {"": "branch1x1", "tower": "branch5x5", "tower_1": "branch3x3dbl"},
    "6a": {"": "branch3x3", "tower": "branch3x3dbl"},
    "6": {"": "branch1x1", "tower": "branch7x7", "tower_1": "branch7x7dbl"},
    "7a": {"tower": "branch3x3", "tower_1": "branch7x7x3"},
    "7": {"": "branch1x1", "tower": "branch3x3", "tower_1": "branch3x3dbl"},
}


def torchvision_name(name: str) -> str:
    """Return torchvision's (and pytorch-fid's) name of a convolution, such as
    `Mixed_7b.branch3x3_2a` for `mixed_9/tower/mixed/conv`."""
    block, _, rest = name.partition("/")
    if block in _STEM:
        return _STEM[block]
    tower, _, last = rest.rpartition("/")
    number = int(last[5:] or 0)  # conv, conv_1, ...
    short = _BLOCKS[block]
    branches = _BRANCHES.get(short) or _BRANCHES[short[0]]
    if tower == "tower_2":
        return f"Mixed_{short}.branch_pool"
    if tower.endswith("/mixed"):  # the fork at the end of a tower of mixed_9 and mixed_10
        outer = tower.removesuffix("/mixed")
        return f"Mixed_{short}.{branches[outer]}_{2 if outer == 'tower' else 3}{'ab'[number]}"
    return f"Mixed_{short}.{branches[tower]}" + (f"_{number + 1}" if tower else "")


def from_torchvision(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights for `InceptionV3` from a state dictionary such as pytorch-fid's.

    Raises KeyError if one is missing.
    """
    weights = {LOGITS: tensors["fc.weight"].T}
    parts = {
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
        "beta": "bias",
        "gamma": "weight",
    }
    for name in kernel_shapes():
        source = torchvision_name(name)
        weights[f"{name}/conv2d_params"] = tensors[f"{source}.conv.weight"].transpose(2, 3, 1, 0)
        for ours, theirs in parts.items():
            weights[f"{name}/batchnorm/{ours}"] = tensors[f"{source}.bn.{theirs}"]
    return weights


def from_nvidia(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return weights for `InceptionV3` from the modules of NVIDIA's TorchScript archive.

    Its modules are named after the graph's nodes and hold weight, mean, var and beta; only letters
    and digits are compared. Raises KeyError or ValueError if something does not fit.
    """
    modules = {}
    for name in tensors:
        path, _, part = name.rpartition(".")
        modules.setdefault(_letters(path.removeprefix("layers.")), {})[part] = tensors[name]
    (logits,) = [t for t in tensors.values() if t.ndim == 2]
    weights = {LOGITS: logits.T}
    parts = {"moving_mean": "mean", "moving_variance": "var", "beta": "beta"}
    for name in kernel_shapes():
        module = modules[_letters(name)]
        weights[f"{name}/conv2d_params"] = module["weight"].transpose(2, 3, 1, 0)
        for ours, theirs in parts.items():
            weights[f"{name}/batchnorm/{ours}"] = module[theirs]
    return weights


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
