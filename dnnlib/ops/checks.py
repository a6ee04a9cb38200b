"""Whether the kernels of each op compute what its plain form does, asked once on each device.

A kernel may be wrong on a machine that nobody tried: another compiler, processor or GPU. Each op is
evaluated here on a small example, with its gradients, in both forms on the same device.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib.devices import on_host
from dnnlib.ops import library
from dnnlib.ops.tensors import FLOAT_TYPES

# Largest difference, as a part of the largest value: several roundings in each type; and 3x3
# convolutions by the fast algorithm, of which 1e-5 is usual.
TOLERANCES = {tf.float32: 1e-4, tf.bfloat16: 0.05, tf.float16: 0.01}


def find_faults(kernels, device: str) -> dict[str, str]:
    """Return what is wrong with which op on "CPU" or "GPU" (then on any of them)."""
    faults = {}
    gpus = tf.config.list_logical_devices("GPU") if device == "GPU" else []
    names = [gpu.name for gpu in gpus] or ["CPU:0"]
    for op, example in _examples(cuda=device == "GPU").items():
        for name in names:
            with tf.device(name):
                fault = _find_fault(kernels, *example)
            if fault and op not in faults:
                faults[op] = f"{fault} on {name.removeprefix('/device:')}"
    return faults


def _find_fault(kernels, function: Callable, shapes: list[tuple[int, ...]]) -> str | None:
    for dtype in FLOAT_TYPES:
        try:
            with library.choosing(kernels):
                actual = _value_and_gradients(function, shapes, dtype)
        except tf.errors.OpError as error:
            return f"fails ({(error.message or type(error).__name__).splitlines()[0]})"
        with library.choosing(None):
            expected = _value_and_gradients(function, shapes, dtype)
        for one, other in zip(actual, expected, strict=True):
            difference = np.abs(one - other).max() / max(np.abs(other).max(), 1.0)
            if not difference <= TOLERANCES[dtype]:
                return f"differs from its definition by {difference:.1g} in {dtype.name}"
    return None


def _value_and_gradients(function, shapes, dtype: tf.DType) -> list[np.ndarray]:
    """Return function(x, ...) and its gradients.  x, the first argument, has the type."""
    draw = np.random.default_rng(0)
    values = [tf.constant(draw.standard_normal(shape), tf.float32) for shape in shapes]
    values[0] = tf.cast(values[0], dtype)
    with tf.GradientTape() as tape:
        tape.watch(values)
        y = function(*values)
        weights = tf.constant(draw.standard_normal(y.shape), tf.float32)
        total = tf.reduce_sum(tf.cast(y, tf.float32) * weights)
    gradients = tape.gradient(total, values)
    return [tf.cast(result, tf.float32).numpy() for result in (y, *gradients)]


def _examples(*, cuda: bool) -> dict[str, tuple[Callable, list[tuple[int, ...]]]]:
    """Return for each op with kernels a function that uses it, and the shapes of its arguments."""
    from dnnlib import ops
    from dnnlib.ops.convolution import strided_conv2d, transposed_conv2d

    def end_layer(x, scale, noise, bias):
        return ops.finish_layer(x, ops.Epilogue(noise, bias, "lrelu", 1.4), scale=scale)

    bias_act = lambda x, bias: ops.bias_act(x, bias, activation="lrelu")  # noqa: E731
    blur = lambda x: ops.upsample2d(x, [1, 3, 3, 1])  # noqa: E731
    grid, features, keys = (5, 9), 36, 6
    attention = [(2, 45, features), (2, keys, features), *((2, size, keys) for size in grid)]
    attention += [(2, features), (2, keys + 1, features), (2, 45, 1), (features,)]
    common = {
        "bias_act": (bias_act, [(40, 40), (40,)]),
        "upfirdn2d": (blur, [(2, 9, 7, 32)]),
        "attention_gain": (_attend, attention),
    }
    if cuda:
        return {**common, "stateless_random": (_multiply_by_random_numbers, [(3, 14)])}
    small, weights = (2, 7, 9, 16), (3, 3, 16, 16)
    return {
        **common,
        "scale_channels": (end_layer, [(2, 5, 32), (2, 32), (2, 5, 1), (32,)]),
        "conv3x3": (lambda x, w: ops.conv3x3(x, tf.cast(w, x.dtype)), [small, weights]),
        "strided_conv2d": (
            lambda x, w: strided_conv2d(x, tf.cast(w, x.dtype), 2),
            [small, weights],
        ),
        "transposed_conv2d": (
            lambda x, w: transposed_conv2d(x, tf.cast(w, x.dtype), 2),
            [small, weights],
        ),
    }


def _attend(*arguments):
    """Attention without what ends a layer, and with it."""
    from dnnlib import ops

    x, weights, *others, noise, bias = arguments
    arguments = x, weights * x.shape[2] ** -0.5, *others
    options = {"heads": 2, "normalize": True}
    alone, probabilities = ops.attention_gain(*arguments, **options)
    # So large a bias that rounding moves no sum over the kink of the activation.
    far = tf.where(tf.range(bias.shape[0]) % 2 == 0, 20.0, -20.0)
    end = ops.Epilogue(noise, bias + far, "lrelu", 0.05)
    ended, _ = ops.attention_gain(*arguments, **options, epilogue=end)
    return tf.concat([alone, ended, tf.cast(probabilities, alone.dtype)], axis=2)


def _multiply_by_random_numbers(x):
    """By normal and uniform ones; seeds are whole numbers, of which there are no gradients."""
    from dnnlib import ops

    with on_host():
        seeds = tf.constant([[5, 2**40 + 1], [-(2**62), 0], [-1, -3]], tf.int64)
    numbers = [
        ops.stateless_random(seeds, [7], distribution=name) for name in ("normal", "uniform")
    ]
    return tf.cast(x, tf.float32) * tf.concat(numbers, axis=1)
