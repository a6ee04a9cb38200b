"""A small data set of real pictures, and a configuration that trains on it within seconds."""

import pytest
import tensorflow as tf

from scripts.prepare_data import main as prepare_data

TINY_RUN = """
# A duplex GANformer for tests.
generator:
  latent_size: 32
  components: 4
  channel_base: 64
  channel_max: 16
  architecture: resnet
  attention: duplex
  integration: mul
  norm: layer
  component_embedding: true
  attention_dropout: 0.1
  component_dropout: 0.1
  mapping: {layers: 2, resnet: true, self_attention: true}
discriminator: {channel_base: 64, channel_max: 16}
data: {resolution: 16, mirror: true}
training:
  kimg: 0.048
  batch_size: 8
  batch_per_device: 4
  regularizer_interval: 2
  path_length_weight: 2
  path_length_interval: 4
  component_mixing: 0.5
output: {tick_kimg: 0.016, grid_kimg: 0.024, snapshot_kimg: 0.024, grid_columns: 4, grid_rows: 2}
"""

# As small as a network can be, for tests about everything around it.
SMALL_RUN = """
generator: {latent_size: 8, components: 1, channel_base: 32, channel_max: 8, mapping: {layers: 1}}
discriminator: {channel_base: 32, channel_max: 8}
data: {resolution: 8}
training: {kimg: 0.4, batch_size: 4, batch_per_device: 4, regularizer_interval: 2}
output:
  tick_kimg: 0.012
  grid_kimg: 0.1
  snapshot_kimg: 0.1
  checkpoint_minutes: 0
  grid_columns: 4
  grid_rows: 1
"""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data") / "demo16"
    prepare_data(["demo", "--out", str(directory), "--resolution", "16", "--max-images", "50"])
    return directory


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY_RUN)
    return path


@pytest.fixture
def arguments(tiny_config, tiny_data, tmp_path):
    """The command line of a run in `tmp_path/run`."""
    return ["--config", str(tiny_config), "--data", str(tiny_data), "--run", str(tmp_path / "run")]


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data") / "demo8"
    prepare_data(["demo", "--out", str(directory), "--resolution", "8", "--max-images", "50"])
    return directory


@pytest.fixture(scope="session")
def small_config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL_RUN)
    return path


@pytest.fixture
def small_arguments(small_config, small_data, tmp_path):
    """The command line of a run of the smallest network in `tmp_path/run`."""
    arguments = ["--config", small_config, "--data", small_data]
    return [str(argument) for argument in [*arguments, "--run", tmp_path / "run"]]


@pytest.fixture
def eager():
    """A few steps of small networks take less time than tracing them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
