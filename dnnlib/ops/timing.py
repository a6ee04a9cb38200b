"""Speed of the native ops against their plain forms and against copying their memory.

All numbers of one case are taken in turns in one process, so that they are comparable on a machine
that is busy with other things; the best of several rounds counts. What an op gains in a whole
minibatch is another question: docs/speed/gains.py.
"""

import time
from collections.abc import Callable
from functools import partial

import tensorflow as tf

from dnnlib import ops

_TAPS = [1 / 8, 3 / 8, 3 / 8, 1 / 8]


def _resample(x, bias, **options):
    return ops.upfirdn2d(x, _TAPS, **options)


def _scale(x, bias):
    return ops.scale_channels(x, tf.tile(bias[None], [x.shape[0], 1]))


_LRELU = partial(ops.bias_act, activation="lrelu")
_CASES = {  # operation and shape of x: what the layers of a 64x64 network with few channels ask for
    "blur after upsampling": (partial(_resample, padding=(1, 1, 1, 1)), (16, 65, 65, 64)),
    "blur before downsampling": (partial(_resample, padding=(2, 2, 2, 2)), (16, 64, 64, 64)),
    "downsample": (partial(_resample, down=2, padding=(1, 1, 1, 1)), (16, 64, 64, 64)),
    "upsample": (partial(_resample, up=2, padding=(2, 1, 2, 1)), (16, 32, 32, 64)),
    "upsample image": (partial(_resample, up=2, padding=(2, 1, 2, 1)), (16, 32, 32, 3)),
    "bias_act lrelu 64x64": (_LRELU, (16, 64, 64, 64)),
    "bias_act lrelu 32x32": (_LRELU, (16, 32, 32, 128)),
    "bias_act linear image": (ops.bias_act, (16, 64, 64, 3)),
    "scale_channels 64x64": (_scale, (16, 64, 64, 64)),
    "scale_channels 32x32": (_scale, (16, 32, 32, 128)),
}


def measure(*, precision: str = "float32", rounds: int = 15) -> dict:
    """Time every case; return {"implementation": ..., "cases": {name: numbers}}.

    Per case: milliseconds `native_forward_ms`, `native_backward_ms` (value and gradients),
    `reference_...` likewise, `copy_ms` (TensorFlow copying as many bytes as input and output
    together), and the ratios `forward_speedup`, `backward_speedup`, `forward_per_copy`.
    """
    ops.set_implementation("native")
    live = ops.implementation()
    cases = {
        name: _measure_case(operation, shape, precision, rounds)
        for name, (operation, shape) in _CASES.items()
    }
    ops.set_implementation("auto")
    return {"implementation": live, "precision": precision, "cases": cases}


def _measure_case(operation: Callable, shape: tuple, precision: str, rounds: int) -> dict:
    x = tf.cast(tf.random.stateless_normal(shape, [0, 1]), precision)
    bias = tf.random.stateless_normal(shape[-1:], [0, 2])
    jobs = {}
    for name in ("native", "reference"):
        ops.set_implementation(name)
        forward, backward = _trace(operation)
        y = forward(x, bias)
        dy = tf.cast(tf.random.stateless_normal(y.shape, [0, 3]), precision)
        jobs[f"{name}_forward"] = partial(forward, x, bias)
        jobs[f"{name}_backward"] = partial(backward, x, bias, dy)
        jobs[f"{name}_backward"]()  # traced while this implementation is live
    source = tf.zeros([(int(tf.size(x)) + int(tf.size(y))) // 2], x.dtype)
    copy = tf.function(lambda values: tf.raw_ops.DeepCopy(x=values), autograph=False)
    jobs["copy"] = partial(copy, source)
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

    forward = tf.function(lambda x, bias: operation(x, bias), autograph=False)
    return forward, tf.function(backward, autograph=False)


def _best_of(jobs: dict[str, Callable], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table (python -m dnnlib.ops.timing)."""
    for precision in ("float32", "bfloat16"):
        result = measure(precision=precision)
        print(f"{precision}; {result['implementation']}")
        for name, numbers in result["cases"].items():
            print(f"  {name:<26}" + "  ".join(f"{k} {v}" for k, v in numbers.items()))


if __name__ == "__main__":
    main()
