"""16-bit feature maps: loss scaling, what a skipped step leaves alone, resolutions in 16 bit."""

import dataclasses
import itertools
import json
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
import yaml

from dnnlib.config import from_mapping
from dnnlib.ops import set_implementation
from gansformer.variables import variables_by_name
from scripts.bench import main as bench
from scripts.train import main as train
from tests.training.conftest import SMALL_RUN, TINY_RUN
from tests.training.runs import assert_same_state, read_state
from training.config import RunConfig
from training.optimizer import Adam, LossScale
from training.run.statistics import TickMeans
from training.state import TrainState
from training.step import TrainingStep


def make_run(text: str, **training) -> RunConfig:
    config = from_mapping(RunConfig, yaml.safe_load(text))
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **training))


tiny_run, small_run = partial(make_run, TINY_RUN), partial(make_run, SMALL_RUN)


def some_reals(config: RunConfig):
    size, batch = config.data.resolution, config.training.batch_per_device
    images = np.random.default_rng(0).integers(0, 256, [batch, size, size, 3], dtype=np.uint8)
    return itertools.repeat((tf.constant(images), tf.zeros([batch, 0])))


@pytest.fixture
def reference_ops():
    """Kernels of TensorFlow's own, for float16 on any machine."""
    set_implementation("reference")
    yield
    set_implementation("auto")


def run_steps(config: RunConfig, dtype: tf.DType, count: int) -> list[dict[str, float]]:
    """Return the losses and norms of each minibatch of a run on the same draws."""
    state = TrainState(config, channels=3, label_dim=0, dtype=dtype)
    if dtype == tf.float16:  # where the first ones lead to; until then steps would be skipped
        state.generator_optimizer.loss_scale.value.assign(2.0**9)
        state.discriminator_optimizer.loss_scale.value.assign(2.0**12)
    step = TrainingStep(config, state)
    reals = some_reals(config)
    rows = []
    for _ in range(count):
        phases = step.run_minibatch(reals)
        rows.append({name: float(x) for phase in phases for name, x in phase.items()})
    return rows


@pytest.mark.slow
def test_float16_follows_float32(reference_ops):
    """All four phases of some minibatches on the same draws: losses within a few percent.

    Norms are compared at the first minibatch only: Adam's first steps are as large for gradients
    that are nothing but rounding as for others.
    """
    config = tiny_run()
    rows = {dtype: run_steps(config, dtype, 5) for dtype in (tf.float32, tf.float16)}
    for number, (exact, found) in enumerate(zip(*rows.values(), strict=True)):
        assert not any(value for name, value in found.items() if name.startswith("overflow/"))
        assert exact.keys() == {n for n in found if not n.startswith(("overflow/", "loss_scale/"))}
        for name, value in exact.items():
            if name.startswith("norm/") and number:
                continue
            assert found[name] == pytest.approx(value, rel=0.03, abs=0.003), name


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["generator", "path_length", "regularizer"])
def test_gradients_in_float16(phase):
    """Of the same weights, second derivatives included; bfloat16 is 6 to 20 times as far away."""
    config = tiny_run()
    images, labels = next(some_reals(config))
    found = []
    for dtype in (tf.float32, tf.float16):
        state = TrainState(config, channels=3, label_dim=0, dtype=dtype)
        if dtype == tf.float16:
            state.generator_optimizer.loss_scale.value.assign(2.0**9)
        step = TrainingStep(config, state)
        gradients = step.gradients(step.phases[phase], images, labels)
        found.append(np.concatenate([np.ravel(g) for g in gradients.values()]))
    exact, half = found
    assert np.linalg.norm(half - exact) < 0.04 * np.linalg.norm(exact)


def make_adam(*, accumulate: int = 1, clip: float | None = None):
    variable = tf.Variable([1.0, -2.0], name="x")
    adam = Adam(
        [variable], learning_rate=0.1, beta1=0.5, accumulate=accumulate, clip=clip,
        loss_scale=LossScale(),
    )  # fmt: skip
    return variable, adam


def own_state(adam: Adam) -> list[np.ndarray]:
    return [v.numpy() for v in (*adam.targets, *adam.m, *adam.v, adam.step)]


def step(adam: Adam, gradient: list[float], **options) -> None:
    """Pass the gradient of the only variable to the optimiser."""
    adam.update(adam.layout.join([tf.constant(gradient)]), **options)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_overflow_skips_the_step(bad, clip):
    """At the very first step, and later: nothing moves but the scale, which is halved."""
    _, adam = make_adam(clip=clip)
    for good in ([], [1.0, 2.0]):
        if good:
            step(adam, good)
        before, scale = own_state(adam), float(adam.loss_scale.value)
        step(adam, [bad, 1.0])
        for old, new in zip(before, own_state(adam), strict=True):
            np.testing.assert_array_equal(old, new)
        assert float(adam.loss_scale.value) == scale / 2
    assert int(adam.step) == 1


def test_one_overflow_skips_all_that_was_accumulated():
    _, adam = make_adam(accumulate=2)
    before = own_state(adam)
    step(adam, [np.inf, 1.0], apply=False)
    step(adam, [1.0, 1.0])
    for old, new in zip(before, own_state(adam), strict=True):
        np.testing.assert_array_equal(old, new)
    step(adam, [1.0, 1.0], apply=False)  # and it has not stayed
    step(adam, [1.0, 1.0])
    assert int(adam.step) == 1 and np.isfinite(adam.targets[0].numpy()).all()


def test_good_steps_are_those_without_a_scale():
    variable, adam = make_adam()
    plain = tf.Variable([1.0, -2.0], name="x")
    expected = Adam([plain], learning_rate=0.1, beta1=0.5)
    for gradient in ([1.0, 2.0], [0.5, -1e-3], [3.0, 0.0]):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(variable * gradient)
        adam.update(adam.gradients(tape, loss))
        step(expected, gradient)
        np.testing.assert_array_equal(variable.numpy(), plain.numpy())


def test_scale_keeps_what_float16_loses():
    """A gradient of 1e-9 is 0 in float16; 2^15 times as large it is not."""
    variable, adam = make_adam()
    with tf.GradientTape() as tape:
        loss = 1e-9 * tf.cast(tf.reduce_sum(tf.cast(variable, tf.float16)), tf.float32)
    (gradient,) = adam.layout.split(adam.gradients(tape, loss))
    np.testing.assert_allclose(gradient, 1e-9, rtol=1e-2)


def test_scale_grows_after_good_steps_and_has_ends(monkeypatch):
    monkeypatch.setattr(LossScale, "INTERVAL", 3)
    scale, seen = LossScale(), []
    scale.value.assign(4.0)
    for is_finite in [True, True, False, True, True, True, True, False, False, False, False]:
        scale.move(tf.constant(is_finite))
        seen.append(float(scale.value))
    assert seen == [4, 4, 2, 2, 2, 4, 4, 2, 1, 1, 1]
    scale.value.assign(LossScale.LARGEST)
    for _ in range(3):
        scale.move(tf.constant(True))
    assert float(scale.value) == LossScale.LARGEST


def test_health_excuses_what_a_smaller_scale_may_cure():
    scale, means = LossScale(), TickMeans()
    for value, expected in ((2.0, 0), (1.0, 1)):
        scale.value.assign(value)
        norm = tf.constant(np.nan)
        means.add([{"norm/generator": norm, "overflow/generator": scale.overflow(norm)}])
        assert means.state()["bad_in_a_row"] == expected
    assert means.finish()["overflow/generator"] == 0.5
    means.add([{"norm/generator": tf.constant(1.0), "overflow/generator": tf.constant(0.0)},
               {"norm/discriminator": tf.constant(np.inf)}])  # fmt: skip
    assert means.state()["bad_in_a_row"] == 2  # of another phase


def test_no_scale_in_other_precisions():
    config = tiny_run()
    names = {
        dtype: set(TrainState(config, channels=3, label_dim=0, dtype=dtype).by_name())
        for dtype in (tf.float32, tf.bfloat16, tf.float16)
    }
    assert names[tf.float32] == names[tf.bfloat16]
    added = names[tf.float16] - names[tf.float32]
    assert added == {
        f"{network}_optimizer/loss_scale/{name}"
        for network in ("generator", "discriminator")
        for name in ("value", "good_steps")
    }


@pytest.mark.parametrize("highest", [None, 1, 2])
def test_resolutions_in_16_bit(reference_ops, highest):
    """The networks of 16x16 pictures: which feature maps are of which type."""
    config = tiny_run(resolutions_in_16_bit=highest)
    state = TrainState(config, channels=3, label_dim=0, dtype=tf.bfloat16)
    seen = {}

    def note(name, function):
        def noted(x, *arguments, **options):
            seen[name] = x.dtype
            return function(x, *arguments, **options)

        return noted

    network = state.generator.synthesis_network
    layers = {4: network.first, 8: network.blocks[0].layers[1], 16: network.blocks[1].layers[1]}
    for size, layer in layers.items():
        layer.conv = note(f"G{size}", layer.conv)
    blocks = {16: state.discriminator.blocks[0], 8: state.discriminator.blocks[1]}
    for size, block in blocks.items():
        block.conv1 = note(f"D{size}", block.conv1)
    state.discriminator.head.conv = note("D4", state.discriminator.head.conv)
    state.generator.evaluate_once(2)
    state.discriminator.evaluate_once(4)
    lowest = 4 if highest is None else 2 ** (5 - highest)
    for network in "GD":
        for size in (4, 8, 16):
            expected = tf.bfloat16 if size >= lowest else tf.float32
            assert seen[f"{network}{size}"] == expected, (network, size)


@pytest.mark.slow
def test_resume_in_float16(reference_ops, small_arguments, tmp_path):
    """A stop, and the same command: the same bytes as without the stop, counters included."""
    whole, parts = str(tmp_path / "whole"), str(tmp_path / "parts")
    arguments = [*small_arguments, "--precision", "mixed_float16", "--ops", "reference"]
    train([*arguments, "--run", whole, "--kimg", "0.016"])
    train([*arguments, "--run", parts, "--kimg", "0.008"])
    train([*arguments, "--run", parts, "--kimg", "0.016"])
    assert_same_state(tmp_path / "whole", tmp_path / "parts")
    one = read_state(tmp_path / "whole")
    assert one["discriminator_optimizer/loss_scale/good_steps"] == 4 + 2


def test_overflow_in_a_step(reference_ops, eager, monkeypatch):
    """Every gradient overflows: the networks stay, the scales are halved in each phase."""
    monkeypatch.setattr(LossScale, "LARGEST", 2.0**60)
    config = small_run(path_length_weight=2.0)
    state = TrainState(config, channels=3, label_dim=0, dtype=tf.float16)
    optimizers = (state.generator_optimizer, state.discriminator_optimizer)
    for optimizer in optimizers:
        optimizer.loss_scale.value.assign(2.0**50)
    before = {**variables_by_name(state.generator), **variables_by_name(state.discriminator)}
    before = {n: v.numpy() for n, v in before.items() if v.trainable}
    phases = TrainingStep(config, state).run_minibatch(some_reals(config))
    after = {**variables_by_name(state.generator), **variables_by_name(state.discriminator)}
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name].numpy(), err_msg=name)
    for optimizer in optimizers:
        assert float(optimizer.loss_scale.value) == 2.0**48 and int(optimizer.step) == 0
    assert len(phases) == 4 and np.isfinite(state.path_length_mean.numpy())
    means = TickMeans()
    means.add(phases)
    assert means.state()["bad_in_a_row"] == 0 and means.finish()["overflow/generator"] == 1


def test_bench_takes_float16(small_config, tmp_path):
    path = tmp_path / "bench.json"
    options = ["--precision", "mixed_float16", "--rounds", "1", "--json", str(path)]
    bench(["--config", str(small_config), *options, "--what", "sample"])
    assert json.loads(path.read_text())["precision"] == "mixed_float16"
