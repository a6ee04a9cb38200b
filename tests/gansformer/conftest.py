"""Small networks for quick tests."""

import pytest

import gansformer

TINY = {
    "generator": {
        "latent_size": 32,
        "components": 4,
        "channel_base": 64,
        "channel_max": 16,
        "architecture": "resnet",
        "attention": "duplex",
        "integration": "mul",
        "norm": "layer",
        "component_embedding": True,
        "mapping": {"layers": 4, "resnet": True, "self_attention": True},
    },
    "discriminator": {"channel_base": 64, "channel_max": 16},
}


@pytest.fixture(scope="session")
def tiny_networks():
    return gansformer.build(TINY, resolution=16, seed=3)


@pytest.fixture(scope="session")
def tiny_generator(tiny_networks):
    return tiny_networks[0]
