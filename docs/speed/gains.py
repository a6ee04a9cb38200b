"""What each op's kernels gain: minibatches and sampling with all kernels and without those of one.

    python docs/speed/gains.py cartoonset64-simplex-cpu float32 [ROUNDS] [OP ...]

For docs/speed.md. An op is made to take its plain TensorFlow form by hiding the kernels from its
module. All forms run in turns in one process. Printed are medians of the ratios "without / with" of
processor seconds, which other programs disturb less than seconds, and of seconds.
"""

import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib.quiet import import_tensorflow  # noqa: E402

import_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from dnnlib.computing import PRECISIONS  # noqa: E402
from dnnlib.ops.library import native_kernels  # noqa: E402
from gansformer.generation import Sampler  # noqa: E402
from training.config import RunConfig, load_config  # noqa: E402
from training.state import TrainState  # noqa: E402
from training.step import TrainingStep  # noqa: E402

OPS = ("upfirdn2d", "bias_act", "epilogue", "convolution", "attention")


class Subject:
    """A state's minibatches and sampling, traced without the kernels of one op, or with all."""

    def __init__(self, config: RunConfig, state: TrainState, without: str | None):
        self.config, self.state = config, state
        self.step, self.sampler = TrainingStep(config, state), Sampler(state.average)
        size, batch = config.data.resolution, config.training.batch_size
        images = tf.cast(tf.random.uniform([batch, size, size, 3], maxval=256), tf.uint8)
        self.reals = itertools.repeat((images, tf.zeros([batch, 0])))
        module = without and sys.modules[f"dnnlib.ops.{without}"]
        if module:
            module.native_kernels = lambda *_, **__: None
        self.measure()
        if module:
            module.native_kernels = native_kernels

    def measure(self) -> np.ndarray:
        """Return processor seconds and seconds, [2, 2], of training and of sampling."""
        interval = self.config.training.regularizer_interval
        regularized, plain = (self._time(self._train, number) for number in (0, 1))
        training = (regularized + (interval - 1) * plain) / interval
        return np.stack([training, self._time(self._sample, 64)])

    def _time(self, run, argument: int) -> np.ndarray:
        start = np.array([time.process_time(), time.perf_counter()])
        run(argument)
        return np.array([time.process_time(), time.perf_counter()]) - start

    def _train(self, minibatch: int) -> None:
        self.state.images_shown.assign(minibatch * self.config.training.batch_size)
        self.step.run_minibatch(self.reals)
        tf.test.experimental.sync_devices()

    def _sample(self, images: int) -> None:
        for _ in self.sampler.batches(range(images)):
            pass


def main(name: str, precision: str, rounds: str = "10", *chosen: str) -> None:
    config = load_config(name, [])
    state = TrainState(config, channels=3, label_dim=0, dtype=PRECISIONS[precision])
    everything = Subject(config, state, None)
    subjects = {op: Subject(config, state, op) for op in chosen or OPS}
    ratios = {op: [] for op in subjects}
    for _ in range(int(rounds)):
        before = everything.measure()
        for op, subject in subjects.items():
            without = subject.measure()
            after = everything.measure()
            ratios[op].append(2 * without / (before + after))
            before = after
    print(f"{name}, {precision}: without / with, processor seconds (seconds)")
    for op, values in ratios.items():
        (training, training_s), (sampling, sampling_s) = np.median(values, axis=0)
        print(f"  {op:20} training {training:.3f} ({training_s:.3f})", end="  ")
        print(f"sampling {sampling:.3f} ({sampling_s:.3f})", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
