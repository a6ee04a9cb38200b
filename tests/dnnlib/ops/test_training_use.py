"""The ops as training uses them: R1-like second order, traced, and under a strategy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops

from . import definition

RANDOM = np.random.default_rng(7)
TAPS = np.float64([1, 3, 3, 1])
KERNEL = np.outer(TAPS, TAPS) / TAPS.sum() ** 2


def critic(x, bias, activation):
    """[B, 8, 8, C] -> scalar per batch, through both ops."""
    y = ops.downsample2d(x, TAPS)
    y = ops.bias_act(y, bias, activation=activation)
    return tf.reduce_sum(ops.upsample2d(y, TAPS) ** 2)


def exact_critic(x, bias, activation):
    y = definition.upfirdn2d(x, KERNEL, down=(2, 2), padding=(1, 1, 1, 1))
    gain = ops.activation_gain(activation)
    y = definition.bias_act(y, bias, activation=activation, gain=gain)
    y = definition.upfirdn2d(y, KERNEL * 4, up=(2, 2), padding=(2, 1, 2, 1))
    return np.sum(y**2)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("activation", ["lrelu", "swish", "softplus"])
def test_second_order_equals_numeric_differences(live, activation, traced):
    """Mixed second derivative along u (x only) and v (x and bias), by differences in float64."""
    x, u, v = RANDOM.normal(size=(3, 2, 8, 8, 3))
    bias, v_bias = RANDOM.normal(size=(2, 3))

    def along(x, bias, u):
        with tf.GradientTape() as outer:
            outer.watch([x, bias])
            with tf.GradientTape() as inner:
                inner.watch(x)
                score = critic(x, bias, activation)
            slope = tf.reduce_sum(inner.gradient(score, x) * u)
        return outer.gradient(slope, [x, bias])

    run = tf.function(along) if traced else along
    dx, db = run(*(tf.constant(t, tf.float32) for t in (x, bias, u)))
    actual = np.sum(dx * v) + np.sum(db * v_bias)
    h = 1e-4

    def at(a, b):
        return exact_critic(x + a * u + b * v, bias + b * v_bias, activation)

    numeric = (at(h, h) - at(h, -h) - at(-h, h) + at(-h, -h)) / (4 * h * h)
    assert actual == pytest.approx(numeric, rel=1e-4, abs=1e-4)


STRATEGY = """
import sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from dnnlib import ops
from tests.dnnlib.ops.test_training_use import RANDOM, critic

ops.set_implementation(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
x = RANDOM.normal(size=(4, 8, 8, 3)).astype(np.float32)
with strategy.scope():
    bias = tf.Variable(RANDOM.normal(size=3).astype(np.float32))

def penalty(images):
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(images)
            score = critic(images, bias, "lrelu")
        r1 = tf.reduce_sum(inner.gradient(score, images) ** 2)
    return outer.gradient(r1, bias)

run = lambda images: strategy.reduce("SUM", strategy.run(penalty, [images]), axis=None)
step = tf.function(run)
halves = iter([x[:2], x[2:]])
split = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(next(halves))
)
np.testing.assert_allclose(step(split), penalty(tf.constant(x)), rtol=2e-5)
"""


@pytest.mark.parametrize("name", ["native", "reference"])
def test_mirrored_strategy_sums_what_one_device_computes(name):
    """In a process of its own: TensorFlow divides the CPU at its start only."""
    result = subprocess.run(
        [sys.executable, "-c", STRATEGY, name],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_mixed_precision_trains(live):
    """bfloat16 activations with a float32 bias: gradients flow and have the right types."""
    bias = tf.Variable(tf.zeros(8))
    x = tf.cast(RANDOM.normal(size=(2, 8, 8, 8)), tf.bfloat16)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.cast(critic(x, bias, "lrelu"), tf.float32)
        return tape.gradient(loss, bias)

    result = gradient()
    assert result.dtype == tf.float32 and np.isfinite(result).all() and np.any(result != 0)


def test_implementations_make_the_same_image():
    x = RANDOM.normal(size=(2, 16, 16, 3)).astype(np.float32)
    weights = RANDOM.normal(size=(3, 3, 3, 8)).astype(np.float32)
    images = []
    for name in ("native", "reference"):
        ops.set_implementation(name)
        y = ops.upsample_conv2d(x, weights, TAPS)
        images.append(ops.bias_act(y, np.ones(8, np.float32), activation="lrelu"))
    ops.set_implementation("auto")
    np.testing.assert_allclose(*images, atol=2e-5)
