"""Random weights of the Inception network, made once."""

import numpy as np
import pytest

from metrics.networks.inception_graph import kernel_shapes


@pytest.fixture(scope="session")
def inception_weights():
    """Weights under the graph's names that keep activations of ordinary size; without gamma."""
    random = np.random.default_rng(0)
    weights = {"softmax/weights": random.normal(size=[2048, 1008]) / 45}
    for name, shape in kernel_shapes().items():
        scale = np.sqrt(2 / np.prod(shape[:3]))
        channels = shape[3]
        weights[f"{name}/conv2d_params"] = random.normal(size=shape) * scale
        weights[f"{name}/batchnorm/moving_mean"] = random.uniform(-0.2, 0.2, channels)
        weights[f"{name}/batchnorm/moving_variance"] = random.uniform(0.5, 1.5, channels)
        weights[f"{name}/batchnorm/beta"] = random.uniform(-0.2, 0.2, channels)
    return {name: value.astype(np.float32) for name, value in weights.items()}
