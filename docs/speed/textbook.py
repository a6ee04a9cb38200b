"""Time the native upfirdn2d and bias_act against their definitions, written down in TensorFlow.

For docs/speed.md. upfirdn2d as defined: insert zeros, pad, convolve every channel as a picture of
its own, keep every n-th sample. bias_act: add the bias, activate, multiply by the gain.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib.quiet import import_tensorflow  # noqa: E402

import_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from dnnlib import ops  # noqa: E402

TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
CASES = (  # name, shape of x, up, down, padding before and after
    ("blur before downsampling", (16, 64, 64, 64), 1, 1, (2, 2)),
    ("blur after upsampling", (16, 65, 65, 64), 1, 1, (1, 1)),
    ("downsample", (16, 64, 64, 64), 1, 2, (1, 1)),
    ("upsample", (16, 32, 32, 64), 2, 1, (2, 1)),
)


def define_upfirdn2d(x: tf.Tensor, up: int, down: int, padding: tuple[int, int]) -> tf.Tensor:
    batch, height, width, channels = x.shape
    x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [-1, height, 1, width, 1])
    x = tf.pad(x, [[0, 0], [0, 0], [0, up - 1], [0, 0], [0, up - 1]])
    x = tf.reshape(x, [-1, height * up, width * up, 1])
    x = tf.pad(x, [[0, 0], padding, padding, [0, 0]])
    taps = tf.constant(TAPS[::-1, ::-1, None, None] * up**2)
    x = tf.nn.conv2d(x, taps, 1, "VALID")[:, ::down, ::down]
    return tf.transpose(tf.reshape(x, [batch, channels, *x.shape[1:3]]), [0, 2, 3, 1])


def define_bias_act(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    x = tf.nn.bias_add(x, bias)
    return tf.maximum(x, 0.2 * x) * np.float32(np.sqrt(2))


def seconds(function: Callable, arguments: tuple, rounds: int = 8) -> float:
    for _ in range(2):
        function(*arguments)
    start = time.perf_counter()
    for _ in range(rounds):
        function(*arguments)
    return (time.perf_counter() - start) / rounds


def with_gradient(function: Callable) -> Callable:
    def run(x, *others):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x, *others)
        return tape.gradient(y, x, y)

    return run


def compare(name: str, definition: Callable, native: Callable, arguments: tuple) -> None:
    """Print milliseconds of both in turns, forward, then forward and backward."""
    np.testing.assert_allclose(definition(*arguments), native(*arguments), atol=1e-5)
    cells = []
    for change in (lambda function: function, with_gradient):
        pair = [tf.function(change(f), autograph=False) for f in (definition, native)]
        slow, fast = np.min([[seconds(f, arguments) for f in pair] for _ in range(3)], axis=0)
        cells.append(f"{slow * 1e3:.1f} and {fast * 1e3:.1f} ms, {slow / fast:.1f} times")
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    for name, shape, up, down, padding in CASES:
        options = {"up": up, "down": down, "padding": (*padding, *padding), "gain": up**2}
        compare(
            name,
            lambda x, case=(up, down, padding): define_upfirdn2d(x, *case),
            lambda x, options=options: ops.upfirdn2d(x, TAPS, **options),
            (tf.random.normal(shape),),
        )
    arguments = (tf.random.normal([16, 64, 64, 64]), tf.random.normal([64]))
    native = lambda x, bias: ops.bias_act(x, bias, activation="lrelu")  # noqa: E731
    compare("bias_act, leaky ReLU", define_bias_act, native, arguments)


if __name__ == "__main__":
    main()
