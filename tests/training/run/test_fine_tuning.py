"""Runs that begin with trained networks."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.cli import run as run_program
from dnnlib.errors import UserError
from gansformer.config import ModelConfig
from gansformer.snapshot import Snapshot, save_snapshot
from gansformer.variables import variables_by_name
from scripts.train import main as train
from tests.dnnlib.official_files import official_modules  # noqa: F401 (a fixture)
from tests.gansformer.test_official_checkpoints import (
    TRANSFORMER,
    as_official,
    make_discriminator,
    make_generator,
    save,
)
from training.config import RunConfig, load_config
from training.run.checkpoint import newest_checkpoint
from training.run.fine_tuning import initialize
from training.state import TrainState
from training.step import TrainingStep


@pytest.fixture(scope="module")
def config(small_config) -> RunConfig:
    return load_config(str(small_config))


@pytest.fixture(scope="module")
def source(config, tmp_path_factory) -> Snapshot:
    """A snapshot at 8x8 whose every variable is new."""
    random = np.random.default_rng(0)
    networks = TrainState(config, channels=3, label_dim=0).networks()
    for network in networks.values():
        for variable in network.variables:
            variable.assign(random.standard_normal(variable.shape))
    snapshot = Snapshot(ModelConfig(config.generator, config.discriminator), 5.0, **networks)
    save_snapshot(snapshot, tmp_path_factory.mktemp("snapshots") / "000005")
    return snapshot


def place(source: Snapshot, tmp_path) -> str:
    save_snapshot(source, tmp_path / "000005")
    return str(tmp_path / "000005")


def make_state(config: RunConfig, resolution: int = 8, **training) -> TrainState:
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, resolution=resolution),
        training=dataclasses.replace(config.training, seed=1, **training),
    )
    return TrainState(config, channels=3, label_dim=0)


def test_all_of_the_same_shape(config, source, tmp_path):
    state, lines = make_state(config), []
    initialize(state, place(source, tmp_path), lines.append)
    for name, network in state.networks().items():
        expected = variables_by_name(getattr(source, name))
        for key, variable in variables_by_name(network).items():
            np.testing.assert_array_equal(variable.numpy(), expected[key].numpy(), err_msg=key)
    assert len(lines) == 3 and all("new:" not in line for line in lines)
    assert state.images_shown.numpy() == 0


def test_another_resolution_takes_what_fits(config, source, tmp_path):
    state, untouched, lines = make_state(config, 16), make_state(config, 16), []
    initialize(state, place(source, tmp_path), lines.append)
    for name, network in state.networks().items():
        old = variables_by_name(getattr(source, name))
        first = variables_by_name(untouched.networks()[name])
        taken = 0
        for key, variable in variables_by_name(network).items():
            fits = key in old and old[key].shape == variable.shape
            expected = old[key] if fits else first[key]
            np.testing.assert_array_equal(variable.numpy(), expected.numpy(), err_msg=key)
            taken += fits
        (line,) = [line for line in lines if line.startswith(f"{name} from")]
        assert f": {taken} of {len(first)} variables; new: " in line and "16x16/" in line
        assert 0 < taken < len(first)


def test_official_pickle(config, tmp_path, official_modules):  # noqa: F811
    generator, discriminator = make_generator(TRANSFORMER), make_discriminator(TRANSFORMER)
    networks = [
        as_official(generator, "G", "Generator", TRANSFORMER),
        as_official(discriminator, "D", "Discriminator", TRANSFORMER),
        as_official(generator, "Gs", "Generator", TRANSFORMER),
    ]
    save(tmp_path / "official.pkl", tuple(networks))
    own = dataclasses.replace(
        config,
        generator=generator.config,
        discriminator=discriminator.config,
        data=dataclasses.replace(config.data, resolution=16),
    )
    state = TrainState(own, channels=3, label_dim=0)
    initialize(state, str(tmp_path / "official.pkl"), print)
    for ours, theirs in ((state.average, generator), (state.discriminator, discriminator)):
        expected = variables_by_name(theirs)
        for name, variable in variables_by_name(ours).items():
            np.testing.assert_array_equal(variable.numpy(), expected[name].numpy(), err_msg=name)


def test_nothing_fits(config, source, tmp_path):
    wider = dataclasses.replace(config.generator, latent_size=16, channel_base=64, channel_max=16)
    other = dataclasses.replace(config, generator=wider)
    state = TrainState(other, channels=1, label_dim=0)
    path = place(source, tmp_path)
    with pytest.raises(UserError, match="no weight of its generator fits"):
        initialize(state, path, print)


def test_frozen_layers_do_not_move(config):
    """Freeze-D: the highest resolution is left alone, all else is trained."""
    frozen = dataclasses.replace(config.training, freeze_discriminator=1, regularizer="none")
    config = dataclasses.replace(config, training=frozen)
    state = TrainState(config, channels=3, label_dim=0)
    step = TrainingStep(config, state)
    before = {name: value.numpy() for name, value in variables_by_name(state.discriminator).items()}
    reals = tf.cast(np.random.default_rng(0).integers(0, 256, [4, 8, 8, 3]), tf.uint8)
    first = tf.constant(0, tf.int64)
    step.run_phase(step.phases["discriminator"], reals, tf.zeros([4, 0]), first, apply=True)
    trainable = {variable.name for variable in state.discriminator.trainable_variables}
    moved = {
        name
        for name, variable in variables_by_name(state.discriminator).items()
        if (variable.numpy() != before[name]).any()
    }
    expected = {name.removesuffix(":0") for name in trainable if not name.startswith("8x8/")}
    assert {"8x8/FromRGB/weight", "8x8/Conv0/weight"} <= set(before)
    assert moved == expected and moved


def test_another_architecture_is_warned_of(config, tmp_path):
    """StyleGAN2's weights for a duplex GANformer: a few fit by chance."""
    source = TrainState(config, channels=3, label_dim=0).networks()
    snapshot = Snapshot(ModelConfig(config.generator, config.discriminator), 5.0, **source)
    options = {"components": 4, "attention": "duplex", "latent_size": 32, "architecture": "resnet"}
    duplex = dataclasses.replace(config.generator, **options)
    state, lines = make_state(dataclasses.replace(config, generator=duplex)), []
    initialize(state, place(snapshot, tmp_path), lines.append)
    assert [line for line in lines if line.startswith("warning: only ") and " of G are in " in line]
    assert not [line for line in lines if line.startswith("warning") and " of D " in line]


def test_command(small_arguments, source, tmp_path, capsys):
    """A new run begins with the snapshot, and going on with it does not begin again."""
    path = place(source, tmp_path)
    arguments = [*small_arguments, "--kimg", "0", "--init-from", path]
    train(arguments)
    with np.load(newest_checkpoint(tmp_path / "run") / "state.npz") as stored:
        for name in ("G", "D", "Gs"):
            for key, variable in variables_by_name(getattr(source, name)).items():
                np.testing.assert_array_equal(stored[f"{name}/{key}"], variable.numpy())
    assert "G from" in capsys.readouterr().out
    train(arguments)
    assert "G from" not in capsys.readouterr().out
    assert run_program(train, [*arguments[:-1], "/nowhere", "--run", str(tmp_path / "other")]) == 2
    assert "model /nowhere does not exist" in capsys.readouterr().err
    assert run_program(train, [*arguments, "--set", "training.freeze_discriminator=2"]) == 2
    assert "use 0 to 1" in capsys.readouterr().err
