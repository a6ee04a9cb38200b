"""Weights of the Inception network under the names of various files."""

import numpy as np

from metrics.networks.inception_graph import kernel_shapes
from metrics.networks.inception_names import from_nvidia, from_torchvision, torchvision_name


def test_names_of_pytorch_fid():
    """Some of the names in pytorch-fid's file, which this project did not choose."""
    known = {
        "conv": "Conv2d_1a_3x3",
        "conv_4": "Conv2d_4a_3x3",
        "mixed/conv": "Mixed_5b.branch1x1",
        "mixed_2/tower/conv_1": "Mixed_5d.branch5x5_2",
        "mixed_1/tower_1/conv_2": "Mixed_5c.branch3x3dbl_3",
        "mixed_3/conv": "Mixed_6a.branch3x3",
        "mixed_3/tower/conv": "Mixed_6a.branch3x3dbl_1",
        "mixed_7/tower/conv_2": "Mixed_6e.branch7x7_3",
        "mixed_4/tower_1/conv_4": "Mixed_6b.branch7x7dbl_5",
        "mixed_8/tower/conv_1": "Mixed_7a.branch3x3_2",
        "mixed_8/tower_1/conv_3": "Mixed_7a.branch7x7x3_4",
        "mixed_9/tower/mixed/conv": "Mixed_7b.branch3x3_2a",
        "mixed_10/tower_1/conv_1": "Mixed_7c.branch3x3dbl_2",
        "mixed_10/tower_1/mixed/conv_1": "Mixed_7c.branch3x3dbl_3b",
        "mixed_10/tower_2/conv": "Mixed_7c.branch_pool",
    }
    assert {name: torchvision_name(name) for name in known} == known
    assert len({torchvision_name(name) for name in kernel_shapes()}) == 94


def with_gamma(weights):
    random = np.random.default_rng(1)
    return weights | {
        f"{name}/batchnorm/gamma": random.uniform(0.5, 2, shape[3]).astype(np.float32)
        for name, shape in kernel_shapes().items()
    }


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_pytorch_names_give_the_same_weights(inception_weights):
    weights = with_gamma(inception_weights)
    tensors = {"fc.weight": weights["softmax/weights"].T, "fc.bias": np.zeros(1008, np.float32)}
    for name in kernel_shapes():
        target, norm = torchvision_name(name), f"{name}/batchnorm"
        kernel = weights[f"{name}/conv2d_params"]
        tensors[f"{target}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        tensors[f"{target}.bn.weight"] = weights[f"{norm}/gamma"]
        tensors[f"{target}.bn.bias"] = weights[f"{norm}/beta"]
        tensors[f"{target}.bn.running_mean"] = weights[f"{norm}/moving_mean"]
        tensors[f"{target}.bn.running_var"] = weights[f"{norm}/moving_variance"]
    assert_same(from_torchvision(tensors), weights)


def test_names_after_the_graph_give_the_same_weights(inception_weights):
    tensors = {"output.weight": inception_weights["softmax/weights"].T, "output.bias": np.zeros(9)}
    parts = {"moving_mean": "mean", "moving_variance": "var", "beta": "beta"}
    for name in kernel_shapes():
        target = f"layers.{name.replace('/', '.')}"
        kernel = inception_weights[f"{name}/conv2d_params"]
        tensors[f"{target}.weight"] = kernel.transpose(3, 2, 0, 1)
        for ours, theirs in parts.items():
            tensors[f"{target}.{theirs}"] = inception_weights[f"{name}/batchnorm/{ours}"]
    assert_same(from_nvidia(tensors), inception_weights)
