"""Kernels that are wrong or fail are found before use, and their op takes its plain form."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops
from dnnlib.errors import UserError
from dnnlib.ops import library

X = np.random.default_rng(0).standard_normal([5, 32]).astype(np.float32)


class Wrong:
    """The kernels, of which one is replaced."""

    def __init__(self, kernels, name: str, function):
        self.kernels, self.name, self.function = kernels, name, function

    def __getattr__(self, name):
        kernel = getattr(self.kernels, name)
        if name != self.name:
            return kernel
        return lambda **arguments: self.function(kernel, arguments)


def one_element_off(kernel, arguments):
    y = kernel(**arguments)
    return y + tf.one_hot(3, y.shape[-1], dtype=y.dtype)


def gradient_off(kernel, arguments):
    dx, sums = kernel(**arguments)
    return dx, sums * 1.001


def failing(kernel, arguments):
    raise tf.errors.InternalError(None, None, "no kernel image is available")


@pytest.fixture
def choose(monkeypatch, tmp_path):
    """Make a process that has just loaded some kernels."""
    if library._choice.load() is None:
        pytest.skip(library._choice.failure)
    original = library._choice.kernels

    def choose(*replaced):
        choice = library._Choice()
        choice.library = library.Library(Path(tmp_path / "some.so"), False, "made up")
        choice.kernels = Wrong(original, *replaced) if replaced else original
        monkeypatch.setattr(library, "_choice", choice)

    return choose


@pytest.mark.parametrize(
    "kernel, function, fault",
    [
        ("gansformer_bias_act", one_element_off, "differs from its definition by"),
        ("gansformer_bias_act_gradient", gradient_off, "differs from its definition by"),
        ("gansformer_bias_act", failing, "fails (no kernel image is available)"),
    ],
)
def test_wrong_kernels_are_replaced(choose, capsys, kernel, function, fault):
    choose(kernel, function)
    y = [ops.bias_act(X, activation="lrelu").numpy() for _ in range(2)]
    ops.upsample2d(np.reshape(X, [1, 5, 1, 32]))
    np.testing.assert_allclose(y[0], np.where(X > 0, X, 0.2 * X) * 2**0.5, rtol=1e-6)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ops: bias_act {fault}") and line.endswith("plain TensorFlow form")
    assert library.native_kernels("bias_act", cuda=True) is None
    assert library.native_kernels("upfirdn2d", cuda=True) is not None
    assert [row for row in library.checked_ops() if "bias_act" in row[1]]
    with pytest.raises(UserError, match="the native op bias_act"):
        ops.set_implementation("native")


def test_right_kernels_are_asked_once(choose, capsys, tmp_path):
    """Also inside a graph and under a tape, where they are first used; then the file knows."""
    choose()

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(ops.bias_act(x, activation="lrelu", gain=1.0))
        return tape.gradient(y, x)

    np.testing.assert_allclose(gradient(X), np.where(X > 0, 1, 0.2), rtol=1e-6)
    assert json.loads((tmp_path / "checked.json").read_text()) == ["CPU"]
    choose("gansformer_bias_act", failing)
    assert library.native_kernels("bias_act", cuda=True) is not None
    assert not capsys.readouterr().err
