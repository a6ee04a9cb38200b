"""Losses, regularisers and the optimiser against the numbers of the official program."""

import numpy as np
import pytest
import tensorflow as tf

from tests.golden_files import load, relative_error
from training.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from training.optimizer import Adam
from training.regularizers import gradient_penalty, gradient_square


@pytest.mark.parametrize(
    "ours, official",
    [
        ("logistic", "logistic"),
        ("logistic_ns", "logistic_ns"),
        ("hinge_official", "hinge"),
        ("wgan", "wgan"),
    ],
)
def test_generator_loss(ours, official):
    _, arrays = load("losses")
    fake = tf.constant(arrays["scores/fake"])
    with tf.GradientTape() as tape:
        tape.watch(fake)
        loss = GENERATOR_LOSSES[ours](fake)
        mean = tf.reduce_mean(loss)
    assert relative_error(loss, arrays[f"G/{official}/loss"]) < 1e-5
    expected = arrays[f"G/{official}/dmeanloss_dfake"]
    assert relative_error(tape.gradient(mean, fake), expected) < 1e-5


@pytest.mark.parametrize("name", ["logistic", "hinge", "wgan"])
def test_discriminator_loss(name):
    _, arrays = load("losses")
    fake, real = tf.constant(arrays["scores/fake"]), tf.constant(arrays["scores/real"])
    with tf.GradientTape() as tape:
        tape.watch([fake, real])
        loss = DISCRIMINATOR_LOSSES[name](fake, real)
        mean = tf.reduce_mean(loss)
    assert relative_error(loss, arrays[f"D/{name}/loss"]) < 1e-5
    slopes = tape.gradient(mean, [fake, real])
    for slope, which in zip(slopes, ("fake", "real"), strict=True):
        assert relative_error(slope, arrays[f"D/{name}/dmeanloss_d{which}"]) < 1e-5


@pytest.mark.parametrize("gamma", [10.0, 3.5])
@pytest.mark.parametrize("kind", ["r1", "r2", "gp"])
def test_discriminator_regularizer(kind, gamma):
    _, arrays = load("losses")
    a, q = tf.constant(arrays["critic/A"]), tf.constant(arrays["critic/Q"])
    reals, fakes = tf.constant(arrays["critic/reals"]), tf.constant(arrays["critic/fakes"])

    def critic(x):
        return tf.reduce_sum(a * x + 0.5 * q * tf.square(x), axis=[1, 2, 3])[:, None]

    with tf.GradientTape() as tape:
        tape.watch([a, q])
        if kind == "gp":
            penalty = gradient_penalty(critic, reals, fakes, arrays["critic/mix"], gamma)
        else:
            penalty = gradient_square(critic, reals if kind == "r1" else fakes, gamma)
        mean = tf.reduce_mean(penalty)
    prefix = f"reg/{kind}_gamma{gamma:g}"
    assert relative_error(penalty, arrays[f"{prefix}/reg_per_sample"]) < 1e-5
    for slope, name in zip(tape.gradient(mean, [a, q]), "AQ", strict=True):
        assert relative_error(slope, arrays[f"{prefix}/dmeanreg_d{name}"]) < 1e-4


def test_wasserstein_is_the_partner_of_hinge():
    scores = tf.constant([[-3.0], [0.5]])
    np.testing.assert_array_equal(GENERATOR_LOSSES["hinge"](scores), -scores)


OPTIMIZER_CASES = load("optimizer")[0]["cases"]


@pytest.mark.parametrize("case", [c for c in OPTIMIZER_CASES if "sequence" in OPTIMIZER_CASES[c]])
def test_adam(case):
    settings, arrays = OPTIMIZER_CASES[case], load("optimizer")[1]
    w, b = tf.Variable(arrays["toy/w0"]), tf.Variable(arrays["toy/b0"])
    unused = tf.Variable(0.5)
    variables = [w, b, unused] if case == "unused_variable" else [w, b]
    optimizer = Adam(
        variables,
        learning_rate=settings["base_lr"],
        **settings["opt_args"],
        lazy_interval=settings["reg_interval"],
        accumulate=settings["accumulate"],
        clip=settings["clip"],
    )
    assert optimizer.learning_rate == pytest.approx(settings["effective_lr"], rel=1e-6)
    assert optimizer.beta1 == pytest.approx(settings["effective_beta1"], rel=1e-6)
    assert optimizer.beta2 == pytest.approx(settings["effective_beta2"], rel=1e-6)
    calls = {"M": 0, "R": 0}
    stored = {k.split("/")[-1]: v for k, v in arrays.items() if k.startswith(f"toy/{case}/")}
    for i, letter in enumerate(settings["sequence"]):
        calls[letter] += 1
        gradients = [tf.constant(stored["grad_w"][i]), tf.constant(stored["grad_b"][i])]
        gradients += [tf.zeros([])] * (len(variables) - 2)
        norm = optimizer.update(
            optimizer.layout.join(gradients),
            kind={"M": "main", "R": "regularizer"}[letter],
            apply=calls[letter] % settings["accumulate"] == 0,
        )
        np.testing.assert_allclose(w, stored["w"][i], atol=2e-6)
        np.testing.assert_allclose(b, stored["b"][i], atol=2e-6)
        if "global_norm" in stored:
            np.testing.assert_allclose(norm, stored["global_norm"][i], rtol=1e-5)
    assert unused.numpy() == 0.5
    np.testing.assert_allclose(optimizer.m[0], stored["adam_w_m_final"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(optimizer.v[0], stored["adam_w_v_final"], rtol=1e-4, atol=1e-7)
