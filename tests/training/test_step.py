"""One minibatch: which phases run, what they differentiate, and what changes in the state."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
import yaml

from dnnlib.config import from_mapping
from gansformer.variables import variables_by_name
from tests.training.conftest import SMALL_RUN
from training.config import RunConfig
from training.state import TrainState
from training.step import TrainingStep

BATCH, SIZE = 4, 8
# Smooth functions, for differences; all four phases.
SMOOTH = {
    "generator": {"activation": "swish", "components": 2, "attention": "simplex"},
    "discriminator": {"activation": "swish"},
    "training": {"path_length_weight": 2, "path_length_interval": 4},
}


def make_config(changes=None, **training) -> RunConfig:
    options = yaml.safe_load(SMALL_RUN)
    for part, values in (changes or {}).items():
        options[part] |= values
    options["training"] |= training
    return from_mapping(RunConfig, options)


def make_step(config: RunConfig) -> TrainingStep:
    return TrainingStep(config, TrainState(config, channels=3, label_dim=0))


def some_images(seed=0):
    images = np.random.default_rng(seed).integers(0, 256, [BATCH, SIZE, SIZE, 3], np.uint8)
    return tf.constant(images), tf.zeros([BATCH, 0])


@pytest.mark.parametrize(
    "training, names",
    [
        ({}, ["generator", "discriminator", "regularizer"]),
        ({"regularizer": "none"}, ["generator", "discriminator"]),
        (
            {"path_length_weight": 2},
            ["generator", "path_length", "discriminator", "regularizer"],
        ),
        (
            {"path_length_weight": 2, "share_fakes": True},
            ["adversarial", "path_length", "regularizer"],
        ),
    ],
)
def test_a_configuration_has_its_phases_in_order(training, names):
    assert list(make_step(make_config(**training)).phases) == names


def test_regularisers_run_at_their_intervals(eager):
    training = {"path_length_weight": 2, "path_length_interval": 3, "regularizer_interval": 2}
    step = make_step(make_config(**training))
    reals, seen = itertools.repeat(some_images()), []
    for _ in range(5):
        statistics = step.run_minibatch(reals)
        seen.append([name[5:] for phase in statistics for name in phase if name[:5] == "norm/"])
    g, p, d, r = "generator", "path_length", "discriminator", "regularizer"
    assert seen == [[g, p, d, r], [g, d], [g, d, r], [g, p, d], [g, d, r]]
    assert step.state.images_shown.numpy() == 5 * BATCH
    assert step.state.generator_optimizer.step.numpy() == 5 + 2
    assert step.state.discriminator_optimizer.step.numpy() == 5 + 3


@pytest.mark.parametrize("name", ["generator", "path_length", "discriminator", "regularizer"])
def test_gradients_against_differences(name):
    """Along a random direction of all weights, times the interval of the phase."""
    step = make_step(make_config(SMOOTH))
    phase, (images, labels) = step.phases[name], some_images()
    assert phase.interval == {"path_length": 4, "regularizer": 2}.get(name, 1)
    gradients = step.gradients(phase, images, labels)
    letter = "G/" if name in ("generator", "path_length") else "D/"
    assert gradients and all(variable.startswith(letter) for variable in gradients)
    random = np.random.default_rng(1)
    directions = {k: random.standard_normal(g.shape).astype("f") for k, g in gradients.items()}
    slope = sum(np.vdot(gradients[k].numpy(), d) for k, d in directions.items())
    variables = step.state.by_name()
    first = tf.constant(0, tf.int64)
    loss = tf.function(lambda: phase.loss(images, labels, first).values[name], autograph=False)
    values = {}
    for h in (-2e-3, 2e-3):
        for key, direction in directions.items():
            variables[key].assign_add(h * direction)
        values[h] = float(loss())
        for key, direction in directions.items():
            variables[key].assign_add(-h * direction)
    difference = phase.interval * (values[2e-3] - values[-2e-3]) / 4e-3
    assert slope == pytest.approx(difference, rel=0.02, abs=2e-3)


@pytest.mark.parametrize(
    "losses", [{}, {"generator_loss": "relativistic", "discriminator_loss": "relativistic"}]
)
def test_shared_fakes_give_the_gradients_of_both_phases(losses):
    """Those of two separate phases whose generators draw the same."""
    shared, apart = (make_step(make_config(SMOOTH, share_fakes=x, **losses)) for x in (True, False))
    draw = apart.randomness.draw
    apart.randomness.draw = lambda purpose, *images: draw("generator", *images)
    gradients = shared.gradients(shared.phases["adversarial"], *some_images())
    expected = {}
    for name in ("generator", "discriminator"):
        expected |= apart.gradients(apart.phases[name], *some_images())
    assert sorted(gradients) == sorted(expected)
    if losses:  # of differences of scores
        assert abs(gradients.pop("D/Output/bias")) < 1e-6
        assert abs(expected.pop("D/Output/bias")) < 1e-6
    for name, gradient in expected.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(gradients[name], gradient, atol=1e-5 * scale, err_msg=name)


def test_shared_fakes_move_both_networks_at_once(eager):
    step = make_step(make_config(share_fakes=True))
    statistics = step.run_minibatch(itertools.repeat(some_images()))
    assert len(statistics) == 2 and {"norm/generator", "norm/discriminator"} < set(statistics[0])
    assert step.state.generator_optimizer.step.numpy() == 1
    assert step.state.discriminator_optimizer.step.numpy() == 2  # the second: of its regulariser


def test_running_averages(eager):
    """w_avg by 0.5 % towards the batch's mean of w; the average of the weights by its half-life."""
    step = make_step(make_config(ema_kimg=0.004, generator_lr=0.1))
    state = step.state
    before = {name: v.numpy() for name, v in variables_by_name(state.average).items()}
    old = state.generator.w_avg.numpy()
    draws = step.randomness.draw("generator", tf.range(BATCH, dtype=tf.int64), tf.constant([0]))
    mean = state.generator.mapping(draws.z[:BATCH]).numpy()[:, :, 0].mean(axis=(0, 1))
    images, labels = some_images()
    first = tf.constant(0, tf.int64)
    step.run_phase(step.phases["generator"], images, labels, first, apply=True)
    np.testing.assert_allclose(
        state.generator.w_avg, 0.995 * old + 0.005 * mean, rtol=1e-5, atol=1e-6
    )
    step.finish_minibatch(step.state.images_shown.read_value())
    for name, variable in variables_by_name(state.generator).items():
        now = variables_by_name(state.average)[name].numpy()
        expected = (before[name] + variable) / 2 if variable.trainable else variable
        np.testing.assert_allclose(now, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_half_life_of_the_average_is_ramped_up(eager):
    """Karras et al. (2020a), appendix C: a part of the images shown, up to ema_kimg."""
    for shown, half_life in ((BATCH, BATCH / 4), (40 * BATCH, 8)):
        step = make_step(make_config(ema_kimg=0.008, ema_rampup=0.25))
        average, source = (
            n.trainable_variables[0] for n in (step.state.average, step.state.generator)
        )
        source.assign_add(tf.ones_like(source))
        before = average.numpy()
        step.finish_minibatch(tf.constant(shown, tf.int64))
        left = 0.5 ** (BATCH / half_life)
        np.testing.assert_allclose(average, source - left * (source - before), atol=1e-5)


def test_accumulation_changes_nothing_before_the_last_micro_batch():
    config = make_config()
    training = dataclasses.replace(config.training, batch_size=2 * BATCH)
    step = make_step(dataclasses.replace(config, training=training))
    phase, (images, labels) = step.phases["discriminator"], some_images()
    weights = {v.name: v.numpy() for v in step.state.discriminator.trainable_variables}
    first = tf.constant(0, tf.int64)
    step.run_phase(phase, images, labels, first, apply=False)
    for variable in step.state.discriminator.trainable_variables:
        np.testing.assert_array_equal(variable, weights[variable.name])
    step.run_phase(phase, images, labels, first + BATCH, apply=True)
    moved = [
        np.abs(v - weights[v.name]).max() for v in step.state.discriminator.trainable_variables
    ]
    assert max(moved) > 1e-4
