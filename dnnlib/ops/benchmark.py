"""Speed of the native ops against the reference and against plain copying of their memory.

All numbers of one case are taken alternately in one process, so that they are comparable on a
machine that is busy with other things; the best of several rounds counts.
"""

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dnnlib import ops
from dnnlib.ops.library import set_implementation

BINOMIAL = np.array([1, 3, 3, 1], np.float32) / 8
_UPFIRDN2D_CASES = {  # x, options: what the layers of a 64x64 network with few channels ask for
    "blur after upsampling convolution": ((16, 65, 65, 64), {"padding": (1, 1, 1, 1)}),
    "blur before downsampling convolution": ((16, 64, 64, 64), {"padding": (2, 2, 2, 2)}),
    "downsample": ((16, 64, 64, 64), {"down": 2, "padding": (1, 1, 1, 1)}),
    "upsample": ((16, 32, 32, 64), {"up": 2, "padding": (2, 1, 2, 1)}),
    "upsample image": ((16, 32, 32, 3), {"up": 2, "padding": (2, 1, 2, 1)}),
}
_BIAS_ACT_CASES = {
    "bias_act lrelu 64x64": ((16, 64, 64, 64), "lrelu"),
    "bias_act lrelu 32x32": ((16, 32, 32, 128), "lrelu"),
    "bias_act linear image": ((16, 64, 64, 3), "linear"),
    "bias_act tanh": ((16, 32, 32, 64), "tanh"),
}
_SCALE_CASES = {
    "scale_channels 64x64": (16, 64, 64, 64),
    "scale_channels 32x32": (16, 32, 32, 128),
}


def measure(*, precision: str = "float32", rounds: int = 15) -> dict:
    """Time every case; return {"implementation": ..., "cases": {name: numbers}}.

    Per case: milliseconds `native_forward_ms`, `native_backward_ms` (value and gradients),
    `reference_...` likewise, `copy_ms` (TensorFlow copying as many bytes as input and output
    together), and the ratios `forward_speedup`, `backward_speedup`, `forward_per_copy`.
    """
    set_implementation("native")
    live = ops.implementation()
    cases = {}
    for name, (shape, options) in _UPFIRDN2D_CASES.items():

        def resample(x, bias, options=options):
            return ops.upfirdn2d(x, BINOMIAL, **options)

        cases[name] = _measure_case(resample, shape, precision, rounds)
    for name, (shape, activation) in _BIAS_ACT_CASES.items():

        def activate(x, bias, activation=activation):
            return ops.bias_act(x, bias, activation=activation)

        cases[name] = _measure_case(activate, shape, precision, rounds)
    for name, shape in _SCALE_CASES.items():

        def scale(x, bias):
            return ops.scale_channels(x, tf.tile(bias[None], [x.shape[0], 1]))

        cases[name] = _measure_case(scale, shape, precision, rounds)
    set_implementation("auto")
    return {"implementation": live, "precision": precision, "cases": cases}


def _measure_case(operation: Callable, shape: tuple, precision: str, rounds: int) -> dict:
    x = tf.cast(tf.random.stateless_normal(shape, [0, 1]), precision)
    bias = tf.random.stateless_normal(shape[-1:], [0, 2])
    jobs = {}
    for name in ("native", "reference"):
        set_implementation(name)
        forward, backward = _trace(operation)
        y = forward(x, bias)
        dy = tf.cast(tf.random.stateless_normal(y.shape, [0, 3]), precision)
        backward(x, bias, dy)
        jobs[f"{name}_forward"] = lambda run=forward: run(x, bias)
        jobs[f"{name}_backward"] = lambda run=backward, dy=dy: run(x, bias, dy)
    moved = (int(tf.size(x)) + int(tf.size(y))) // 2
    source = tf.zeros([moved], x.dtype)
    copy = tf.function(lambda values: tf.raw_ops.DeepCopy(x=values), autograph=False)
    jobs["copy"] = lambda: copy(source)
    best = _best_of(jobs, rounds)
    times = {f"{name}_ms": round(seconds * 1e3, 3) for name, seconds in best.items()}
    return times | {
        "forward_speedup": round(best["reference_forward"] / best["native_forward"], 2),
        "backward_speedup": round(best["reference_backward"] / best["native_backward"], 2),
        "forward_per_copy": round(best["native_forward"] / best["copy"], 2),
    }


def _trace(operation: Callable) -> tuple[Callable, Callable]:
    def backward(x, bias, dy):
        with tf.GradientTape() as tape:
            tape.watch([x, bias])
            y = operation(x, bias)
        return tape.gradient(y, [x, bias], dy, unconnected_gradients="zero")

    return tf.function(operation, autograph=False), tf.function(backward, autograph=False)


def _best_of(jobs: dict[str, Callable], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table (python -m dnnlib.ops.benchmark)."""
    for precision in ("float32", "bfloat16"):
        result = measure(precision=precision)
        print(f"{precision}; {result['implementation']}")
        for name, numbers in result["cases"].items():
            print(f"  {name:<38}" + "  ".join(f"{k} {v}" for k, v in numbers.items()))


if __name__ == "__main__":
    main()
