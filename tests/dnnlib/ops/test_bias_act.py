"""bias_act against its definition, and its derivatives against those of the reference."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops
from dnnlib.ops.bias_act import ACTIVATIONS
from tests.derivatives import derivatives

from . import definition

RANDOM = np.random.default_rng(6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("shape", [(5,), (3, 1), (4, 130), (2, 3, 4, 3), (2, 9, 9, 64)])
def test_value(live, activation, clamp, shape):
    x = (RANDOM.normal(size=shape) * 3).astype(np.float32)
    bias = RANDOM.normal(size=shape[-1:]).astype(np.float32)
    y = ops.bias_act(x, bias, activation=activation, clamp=clamp)
    exact = definition.bias_act(
        x.astype(np.float64),
        bias.astype(np.float64),
        activation=activation,
        gain=ops.activation_gain(activation),
        clamp=clamp or np.inf,
    )
    np.testing.assert_allclose(y, exact, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_scales(live, activation):
    x, bias = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((4, 9), (9,)))
    options = {"activation": activation, "gain": 1.3}
    y = ops.bias_act(x, bias, clamp=0.7, scale=0.4, bias_scale=1.7, **options)
    exact = definition.bias_act(0.4 * np.float64(x), 1.7 * bias, clamp=0.7, **options)
    np.testing.assert_allclose(y, exact, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_inputs(live, activation):
    x = np.float32([-1e4, -100, -50, -20, -1e-6, 0, 1e-6, 20, 50, 100, 1e4])
    y = ops.bias_act(x, activation=activation, gain=1.0)
    exact = definition.bias_act(np.float64(x).clip(-700), 0, activation=activation)
    np.testing.assert_allclose(y[1:], exact[1:], rtol=2e-6, atol=1e-7)
    assert np.isfinite(y).all()
    assert np.isnan(ops.bias_act(np.float32([np.nan]), activation=activation)).all()


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "options",
    [{}, {"clamp": 0.9, "scale": 0.7, "bias_scale": 2.0}, {"gain": -0.5, "alpha": 0.3}],
    ids=repr,
)
def test_second_derivatives_equal_the_reference(activation, options, traced):
    shape = (3, 5, 5, 6)
    tensors = [RANDOM.normal(size=s).astype(np.float32) for s in (shape, (6,), shape, shape, (6,))]
    tensors = [tf.constant(t) for t in tensors]
    results = []
    for name in ("reference", "native"):
        ops.set_implementation(name)

        def run(x, bias):
            return ops.bias_act(x, bias, activation=activation, **options)

        x, bias, dy, *directions = tensors
        results.append(derivatives(run, [x, bias], dy, directions, traced=traced))
    ops.set_implementation("auto")
    for reference, native in zip(*results, strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(reference))))
        np.testing.assert_allclose(native, reference, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("activation", ["tanh", "swish", "softplus", "lrelu"])
def test_third_derivative(live, activation):
    x = tf.constant(RANDOM.normal(size=(4, 3)).astype(np.float32))
    bias = tf.constant(RANDOM.normal(size=3).astype(np.float32))
    step = 1e-3

    def second(shift):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = ops.bias_act(x, bias + shift, activation=activation)
            dx = inner.gradient(y, x)
        return outer.gradient(dx, x, unconnected_gradients="zero")

    shift = tf.zeros(3)
    with tf.GradientTape() as tape:
        tape.watch(shift)
        result = second(shift)
    third = tape.gradient(result, shift, unconnected_gradients="zero")
    numeric = tf.reduce_sum(second(step) - second(-step), 0) / (2 * step)
    np.testing.assert_allclose(third, numeric, atol=2e-3)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_sixteen_bits(live, dtype, tolerance):
    x = tf.cast(RANDOM.normal(size=(7, 5, 40)), dtype)
    bias = tf.constant(RANDOM.normal(size=40).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch([x, bias])
        y = ops.bias_act(x, bias, activation="lrelu")
    dx, db = tape.gradient(y, [x, bias])
    assert (y.dtype, dx.dtype, db.dtype) == (x.dtype, x.dtype, tf.float32)
    wide = tf.cast(x, tf.float64).numpy()
    exact = definition.bias_act(wide, bias.numpy(), activation="lrelu", gain=2**0.5)
    np.testing.assert_allclose(tf.cast(y, tf.float64), exact, rtol=1.01 * tolerance, atol=1e-7)
    slopes = np.where(wide + bias.numpy() > 0, 1, 0.2) * 2**0.5
    np.testing.assert_allclose(db, slopes.sum((0, 1)), rtol=2 * tolerance)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_clipped_values_have_no_gradient_in_sixteen_bits(live, dtype):
    """0.9 is stored as a little less, which must still count as clipped."""
    x = tf.cast([[-3.0, 0.1, 3.0]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.bias_act(x, activation="lrelu", alpha=0.5, gain=1.0, clamp=0.9)
    assert (tape.gradient(y, x).numpy() == [[0, 1, 0]]).all()


def test_bias_gradient_repeats_to_the_bit(live):
    x = tf.constant(RANDOM.normal(size=(40, 33, 33, 12)).astype(np.float32))
    bias = tf.zeros(12)

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(bias)
            y = ops.bias_act(x, bias, activation="lrelu")
        return tape.gradient(y, bias, x).numpy()

    first = gradient()
    assert all((gradient() == first).all() for _ in range(5))


def test_empty_input(live):
    assert ops.bias_act(np.zeros((0, 4), np.float32), np.zeros(4, np.float32)).shape == (0, 4)


def test_bad_arguments_are_reported():
    with pytest.raises(ValueError, match='did you mean "lrelu"'):
        ops.bias_act(np.zeros((2, 2), np.float32), activation="lreluu")
    with pytest.raises(ValueError, match="does not fit"):
        ops.bias_act(np.zeros((2, 2), np.float32), np.zeros(3, np.float32))
