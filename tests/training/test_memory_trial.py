"""Whether a minibatch fits into memory, tried in another process."""

import pytest

from dnnlib.computing import ComputingOptions
from dnnlib.config import from_mapping
from dnnlib.errors import UserError
from training.config import RunConfig
from training.memory_trial import fits_in_memory

pytestmark = pytest.mark.slow


@pytest.fixture
def config() -> RunConfig:
    networks = {"channel_base": 32, "channel_max": 8}
    return from_mapping(
        RunConfig,
        {
            "generator": {**networks, "latent_size": 8, "components": 1, "mapping": {"layers": 1}},
            "discriminator": networks,
            "data": {"resolution": 8},
            "training": {"batch_size": 4},
        },
    )


def test_each_phase_is_computed(config):
    assert fits_in_memory(config, ComputingOptions("cpu"), channels=3, label_dim=2)


def test_a_failure_for_another_reason_is_none_of_memory(config):
    with pytest.raises(UserError, match="=4 could not be tried; .*: dnnlib.errors.UserError: "):
        fits_in_memory(config, ComputingOptions("gpu:99"), channels=3, label_dim=0)
