"""Whether a minibatch fits into memory, tried in another process."""

import pytest

from dnnlib.computing import ComputingOptions
from dnnlib.errors import UserError
from training.config import RunConfig, load_config
from training.memory_trial import fits_in_memory

pytestmark = pytest.mark.slow


@pytest.fixture
def config(small_config) -> RunConfig:
    return load_config(small_config)


def test_each_phase_is_computed(config):
    assert fits_in_memory(config, ComputingOptions("cpu"), channels=3, label_dim=2)


def test_a_failure_for_another_reason_is_none_of_memory(config):
    with pytest.raises(UserError, match="=4 could not be tried; .*: dnnlib.errors.UserError: "):
        fits_in_memory(config, ComputingOptions("gpu:99"), channels=3, label_dim=0)
