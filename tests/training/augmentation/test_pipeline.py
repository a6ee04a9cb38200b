"""The whole pipeline: identity at p = 0, derivatives, adaptation, and its place in training."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib.cli import run as run_program
from dnnlib.random_streams import RandomStream
from gansformer.config import DiscriminatorConfig, GeneratorConfig
from scripts.train import main as train
from tests.training.runs import train_in_process
from tests.training.test_replicas import on_devices
from training.augmentation.adaptation import AdaptiveProbability
from training.augmentation.config import ADA, AugmentationConfig
from training.augmentation.pipeline import augment
from training.config import DataConfig, RunConfig, TrainingConfig
from training.randomness import Randomness
from training.regularizers import gradient_square
from training.run.checkpoint import load_checkpoint, save_checkpoint
from training.state import TrainState
from training.step import TrainingStep

EVERYTHING = AugmentationConfig("ada", transforms=ADA)
DIFFAUGMENT = AugmentationConfig("diffaugment")


def stream(count, first=0):
    return RandomStream("test", tf.range(first, first + count, dtype=tf.int64))


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 16, 16, 3), (2, 16, 32, 3), (2, 17, 9, 1)])
def test_identity_where_nothing_happens(shape):
    images = pictures(*shape)
    np.testing.assert_allclose(
        augment(images, stream(shape[0]), EVERYTHING, 0.0), images, atol=1e-6
    )


@pytest.mark.parametrize("config", [EVERYTHING, DIFFAUGMENT])
def test_each_image_has_its_own_numbers_whatever_the_batch(config):
    images = pictures(6, 16, 16, 3)
    whole = augment(images, stream(6), config, 0.8).numpy()
    part = augment(images[4:], stream(2, first=4), config, 0.8).numpy()
    np.testing.assert_allclose(whole[4:], part, atol=1e-6)
    alike = augment(np.repeat(images[:1], 6, axis=0), stream(6), config, 0.8).numpy()
    differences = [np.abs(alike[i] - alike[j]).max() for i in range(6) for j in range(i)]
    assert min(differences) > 0.05


def test_p_changes_without_a_new_trace():
    traced = tf.function(lambda p: augment(images, stream(2), EVERYTHING, p), autograph=False)
    images = tf.constant(pictures(2, 16, 16, 3))
    outputs = [traced(tf.constant(p)).numpy() for p in (0.0, 1.0)]
    assert traced.experimental_get_tracing_count() == 1
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1


@pytest.mark.parametrize("name", [*ADA, "diffaugment"])
def test_gradient_is_the_adjoint(name):
    """Every transform is affine, A x + b: <A x, v> = <x, A^T v>, and A^T is what the tape gives."""
    config = DIFFAUGMENT if name == "diffaugment" else AugmentationConfig("ada", transforms=(name,))
    x, v = (tf.constant(pictures(4, 12, 16, 3, seed=seed)) for seed in (1, 2))
    apply = lambda x: augment(x, stream(4), config, 0.9)  # noqa: E731
    with tf.GradientTape() as tape:
        tape.watch(x)
        product = tf.reduce_sum(apply(x) * v)
    linear = float(product - tf.reduce_sum(apply(tf.zeros_like(x)) * v))
    assert float(tf.reduce_sum(tape.gradient(product, x) * x)) == pytest.approx(linear, abs=2e-3)


@pytest.mark.parametrize("config", [EVERYTHING, DIFFAUGMENT])
def test_second_derivatives_against_differences(config):
    """R1 through a score that is cubic in the augmented image, moved along a direction."""
    x, direction = (tf.constant(pictures(2, 12, 12, 3, seed=seed)) for seed in (3, 4))
    weight = pictures(2, 12, 12, 3, seed=5)

    @tf.function(autograph=False)
    def penalty(x):
        scores = lambda x: weight * augment(x, stream(2), config, 0.7) ** 3  # noqa: E731
        return tf.reduce_sum(gradient_square(scores, x, 1.0))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = penalty(x)
    slope = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    step = 0.02
    difference = float(penalty(x + step * direction) - penalty(x - step * direction)) / (2 * step)
    assert abs(slope) > 0.1 and slope == pytest.approx(difference, rel=5e-3)


def test_p_follows_the_sign_of_the_scores():
    """Every fourth minibatch by 4 x 10 / 1000, towards the target of 0.6, within 0 and 1."""
    config = AugmentationConfig("ada", p=0.1, ramp_kimg=1.0)
    adaptive, shown, expected = AdaptiveProbability(config, batch_size=10), 0, 0.1
    signs = [0.9] * 8 + [0.5] * 4 + [1.0, 1.0, 1.0, -0.8] + [1.0] * 92 + [-1.0] * 120
    for number, sign in enumerate(signs, start=1):
        for half in (sign - 0.05, sign + 0.05):  # two micro-batches
            adaptive.observe(tf.constant(half), 0.5)
        shown += 10
        adaptive.adapt(tf.constant(shown, tf.int64))
        if number % 4 == 0:
            mean = np.mean(signs[number - 4 : number])
            expected = np.clip(expected + 0.04 * np.sign(mean - 0.6), 0, 1)
            assert float(adaptive.sign) == 0
        assert float(adaptive.p) == pytest.approx(expected, abs=1e-5)
        assert number != 12 or expected == pytest.approx(0.14)
        assert number != 16 or expected == pytest.approx(0.10)  # a mean of 0.55
    assert expected == 0


@pytest.fixture
def tiny_networks():
    def make(augmentation):
        sizes = {"channel_base": 64, "channel_max": 16}
        return RunConfig(
            GeneratorConfig(latent_size=16, **sizes),
            DiscriminatorConfig(**sizes),
            DataConfig(resolution=16),
            TrainingConfig(batch_size=4, batch_per_device=4, augmentation=augmentation),
        )

    return make


class StreamRecorder(Randomness):
    """Remembers which streams a step asks for."""

    def stream(self, phase, index):
        self.phases = getattr(self, "phases", []) + [phase]
        return super().stream(phase, index)


@pytest.mark.parametrize("mode", ["none", "fixed", "diffaugment"])
def test_everything_that_the_discriminator_sees_is_augmented(mode, tiny_networks, eager):
    """And nothing new is drawn where augmentation is off."""
    config = tiny_networks(AugmentationConfig(mode, p=0.5))
    state = TrainState(config, channels=3, label_dim=0)
    sampler = StreamRecorder(state.generator, seed=0, style_mixing=0.0, component_mixing=0.0)
    reals = iter([(tf.zeros([4, 16, 16, 3], tf.uint8), tf.zeros([4, 0]))])
    TrainingStep(config, state, sampler).run_minibatch(reals)
    augmented = {phase for phase in sampler.phases if phase.startswith("augmentation")}
    expected = {f"augmentation/{name}" for name in ("generator", "fake", "real", "regularizer")}
    assert augmented == (set() if mode == "none" else expected)
    assert not any("augmentation" in name for name in state.by_name())


def run_minibatches(state, config, numbers):
    """Train on the minibatches with these numbers, and return the statistics of all phases."""
    step, statistics = TrainingStep(config, state), []
    for number in numbers:
        images = np.random.default_rng(number).integers(0, 256, [4, 16, 16, 3], np.uint8)
        statistics += step.run_minibatch(iter([(tf.constant(images), tf.zeros([4, 0]))]))
    return statistics


def test_resumed_run_is_the_same(tiny_networks, tmp_path, eager):
    """Stopped within an interval of four minibatches, with p on its way."""
    config = tiny_networks(AugmentationConfig("ada", ramp_kimg=0.1, target=-0.9))
    make = lambda: TrainState(config, channels=3, label_dim=0)  # noqa: E731
    whole, second = make(), make()
    statistics = run_minibatches(whole, config, range(6))
    stopped = whole.values()
    assert stopped["augmentation/p"] == pytest.approx(0.16) and stopped["augmentation/sign"] != 0
    load_checkpoint(save_checkpoint(tmp_path, stopped, {}), second)
    statistics += run_minibatches(whole, config, range(6, 9))
    run_minibatches(second, config, range(6, 9))
    one, other = whole.values(), second.values()
    assert sorted(one) == sorted(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    curve = [float(line["augmentation/p"]) for line in statistics if "augmentation/p" in line]
    np.testing.assert_allclose(curve, [0] * 4 + [0.16] * 4 + [0.32])


ADAPTED = ["--set", "training.augmentation.mode=ada", "training.augmentation.ramp_kimg=0.1"]


@pytest.mark.slow
def test_two_replicas_equal_one(arguments, tmp_path):
    options = [*arguments, *ADAPTED, "--set", "training.augmentation.p=0.5"]
    one = train_in_process(on_devices(options, "cpu", 8, str(tmp_path / "one")))
    two = train_in_process(on_devices(options, "cpu:2", 4, str(tmp_path / "two")))
    for name in ("augmentation/p", "augmentation/sign"):
        assert one[name] == pytest.approx(two[name], abs=1e-6)
    for name, value in one.items():
        is_noise = name.endswith(("bias_key", "bias_to_pos"))  # golden README, "How to compare"
        if name.startswith(("G/", "D/", "Gs/")) and value.size and not is_noise:
            scale, difference = max(1.0, float(np.abs(value).max())), np.abs(value - two[name])
            assert np.sqrt(np.mean(difference**2)) < 1e-5 * scale, name
            # Once a gradient of D is next to zero at one weight, and Adam follows its rounding.
            assert difference.max() < 1e-4 * scale, name


@pytest.mark.parametrize(
    "assignments, message",
    [
        (["mode=adda"], 'did you mean "ada"'),
        (["mode=ada", "transforms=[blitt]"], 'did you mean "blit"'),
        (["mode=diffaugment", "transforms=[blit]"], "there are color, translation, cutout"),
        (["mode=fixed"], "set training.augmentation.p, such as 0.3"),
        (["mode=fixed", "p=1.5"], "use a number from 0 to 1"),
        (["mode=ada", "ramp_kimg=0"], "use a number greater than 0"),
    ],
)
def test_bad_options_get_one_line(arguments, assignments, message, tmp_path, capsys):
    options = [f"training.augmentation.{assignment}" for assignment in assignments]
    assert run_program(train, [*arguments, "--set", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
