"""Checkpoints: what is in them, which are kept, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest

from datasets.manifest import file_digest
from dnnlib.errors import UserError
from training.config import OutputConfig, RunConfig, load_config
from training.run.checkpoint import load_checkpoint, save_checkpoint
from training.run.retention import remove_old_checkpoints
from training.state import TrainState


@pytest.fixture(scope="module")
def config(tiny_config) -> RunConfig:
    return load_config(str(tiny_config))


def make_state(config: RunConfig, **changes) -> TrainState:
    training = dataclasses.replace(config.training, **changes)
    return TrainState(dataclasses.replace(config, training=training), channels=3, label_dim=0)


def fill(state: TrainState) -> None:
    """Give every variable of a state numbers that no initialisation gives."""
    random = np.random.default_rng(0)
    for variable in state.by_name().values():
        if variable is not state.images_shown:
            values = random.standard_normal(variable.shape) * 100
            variable.assign(values.astype(variable.dtype.as_numpy_dtype))


def assert_same_values(one: TrainState, other: TrainState) -> None:
    first, second = one.values(), other.values()
    assert sorted(first) == sorted(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_another_number_of_micro_batches(config, tmp_path):
    """Accumulators come and go with the number of micro-batches; the checkpoint is the same."""
    accumulating, whole = make_state(config), make_state(config, batch_per_device=8)
    assert accumulating.generator_optimizer.accumulators
    assert not whole.generator_optimizer.accumulators
    fill(accumulating)
    path = save_checkpoint(tmp_path, accumulating.values(), {"tick": 3})
    assert load_checkpoint(path, whole) == {"tick": 3}
    assert_same_values(accumulating, whole)


def test_checkpoint_with_accumulators_still_loads(config, tmp_path):
    """Checkpoints of the first version hold the accumulators, which are zero."""
    state, loaded = make_state(config), make_state(config)
    fill(state)
    path = save_checkpoint(tmp_path, state.values(), {})
    arrays = state.values()
    for optimizer in ("generator_optimizer", "discriminator_optimizer"):
        for kind in getattr(state, optimizer).accumulators:
            arrays |= {
                f"{optimizer}/{kind}/{v.name.removesuffix(':0')}": np.zeros(v.shape, np.float32)
                for v in getattr(state, optimizer).targets
            }
    assert "discriminator_optimizer/main/16x16/Conv0/weight" in arrays
    np.savez(path / "state.npz", **arrays)
    description = json.loads((path / "checkpoint.json").read_text())
    description["sha256"] = file_digest(path / "state.npz")
    (path / "checkpoint.json").write_text(json.dumps(description))
    load_checkpoint(path, loaded)
    assert_same_values(state, loaded)


def test_variable_without_a_place_is_refused(config, tmp_path):
    state = make_state(config)
    path = save_checkpoint(tmp_path, state.values(), {})
    smaller = dataclasses.replace(config.discriminator, channel_max=8)
    other = TrainState(dataclasses.replace(config, discriminator=smaller), channels=3, label_dim=0)
    with pytest.raises(UserError, match="use the configuration it was made with"):
        load_checkpoint(path, other)


def test_augmentation_can_be_turned_on_and_off(config, tmp_path):
    adaptive = dataclasses.replace(config.training.augmentation, mode="ada", p=0.25)
    plain, augmented = make_state(config), make_state(config, augmentation=adaptive)
    load_checkpoint(save_checkpoint(tmp_path, plain.values(), {}), augmented)
    assert augmented.adaptive.p.numpy() == 0.25
    fill(augmented)
    load_checkpoint(save_checkpoint(tmp_path, augmented.values(), {}), plain)
    np.testing.assert_array_equal(
        plain.values()["Gs/G_synthesis/4x4/Conv/weight"],
        augmented.values()["Gs/G_synthesis/4x4/Conv/weight"],
    )


def write_all(run, numbers, **options) -> list[int]:
    """Write checkpoints one after another as a run does; return which are left."""
    best = options.pop("best", None)
    for number in numbers:
        path = run / "checkpoints" / f"{number:010d}"
        path.mkdir(parents=True)
        known = best if best is not None and best <= number else None
        remove_old_checkpoints(run, OutputConfig(**options), current=path, best=known)
    return sorted(int(path.name) for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({}, [6500, 7000]),
        ({"keep_checkpoints": 1}, [7000]),
        ({"best": 2500}, [2500, 6500, 7000]),
        ({"keep_checkpoint_every_kimg": 2}, [2500, 4000, 6000, 6500, 7000]),
        ({"keep_checkpoint_every_kimg": 2, "best": 500}, [500, 2500, 4000, 6000, 6500, 7000]),
    ],
)
def test_which_checkpoints_stay(tmp_path, options, left):
    numbers = [0, 500, 1000, 1900, 2500, 3000, 4000, 4500, 5999, 6000, 6500, 7000]
    assert write_all(tmp_path, numbers, **options) == left


def test_checkpoints_of_a_continuation_that_was_given_up_go(tmp_path):
    """After `--resume` of an older checkpoint, `--resume auto` must not find the newer ones."""
    write_all(tmp_path, [100, 200, 300], keep_checkpoints=3)
    assert write_all(tmp_path, [150], keep_checkpoints=3) == [100, 150]
