"""How fast training and sampling are, as a fraction of what the machine can multiply."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import tensorflow as tf

from dnnlib.computing import PRECISIONS, ComputingOptions
from dnnlib.devices import describe_devices, variable_scope
from dnnlib.ops import count_multiply_adds, implementation
from gansformer.generation import Sampler
from training.batch_size import check_batch, choose_batch
from training.config import RunConfig
from training.run.statistics import peak_memory_gb
from training.state import TrainState
from training.step import TrainingStep

MATRIX, MATRIX_ON_GPU = 3072, 8192


def benchmark(
    configs: dict[str, RunConfig],
    *,
    what: set[str],
    computing: ComputingOptions,
    rounds: int,
    around_round: Callable[[], AbstractContextManager] = nullcontext,
) -> list[dict[str, Any]]:
    """Measure the configurations and the machine alternately; return a report for each.

    what: "train", "sample" or both. One round of training is a whole cycle of plain and regularised
    minibatches, so that their true mix is timed. Figures are medians over the rounds.
    around_round: a context that each round is measured in.
    """
    strategy = computing.apply()
    devices = strategy.num_replicas_in_sync
    with variable_scope(strategy):
        configs = {
            name: _divided(choose_batch(config, strategy, print, computing=computing), devices)
            for name, config in configs.items()
        }
    matmul = _matmul_timers(computing)
    with variable_scope(strategy):
        subjects = {
            name: Subject(config, computing.dtype, strategy) for name, config in configs.items()
        }
    times: dict[tuple[str, str], list[float]] = {}

    def record(name: str, kind: str, run: Callable[[], None]) -> None:
        start = time.perf_counter()
        run()
        times.setdefault((name, kind), []).append(time.perf_counter() - start)

    with variable_scope(strategy):
        for number in range(rounds + 1):
            if number == 1:
                times.clear()  # the first round traced the graphs
            with around_round():
                for name, run in matmul.items():
                    record(name, "matmul", run)
                for name, subject in subjects.items():
                    for kind in sorted(what):
                        record(name, kind, subject.runs[kind])
    median = {key: statistics.median(values) for key, values in times.items()}
    size = _matrix_size()
    rates = {name: 2 * size**3 / median[name, "matmul"] / 1e9 for name in matmul}
    return [
        _report(name, subject, median, rates, computing, sorted(what))
        for name, subject in subjects.items()
    ]


class Subject:
    """One configuration, ready to be timed."""

    def __init__(
        self,
        config: RunConfig,
        dtype: tf.DType = tf.float32,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.config = config
        self.state = TrainState(config, channels=3, label_dim=0, dtype=dtype, strategy=strategy)
        self.step = TrainingStep(config, self.state)
        self.minibatches = math.lcm(*(phase.interval for phase in self.step.phases.values()))
        self.sampler = Sampler(self.state.average)
        self.samples = 64
        self.images = {
            "train": self.minibatches * config.training.batch_size,
            "sample": self.samples,
        }
        self.runs = {"train": self.train, "sample": self.sample}

    def train(self) -> None:
        """Run one cycle of minibatches."""
        reals = _random_images(self.config, self.step.micro_batch)
        for _ in range(self.minibatches):
            self.step.run_minibatch(reals)
        tf.test.experimental.sync_devices()

    def sample(self) -> None:
        """Make some images."""
        for _ in self.sampler.batches(range(self.samples)):
            pass

    def gflop_per_image(self) -> dict[str, float]:
        """Count 2 x multiply-adds: a generator step is G forward and twice back, D forward and once
        back; a discriminator step is G forward, and D forward and twice back for real and fake.
        Regularisers take time but do not count."""
        generator, discriminator = self.state.generator, self.state.discriminator
        g = 2 * count_multiply_adds(lambda: generator.evaluate_once(2)) / 2 / 1e9
        d = 2 * count_multiply_adds(lambda: discriminator.evaluate_once(4)) / 4 / 1e9
        return {"train": (3 * g + 2 * d) + (g + 6 * d), "sample": g}


def _random_images(config: RunConfig, batch: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    size = config.data.resolution
    generator = tf.random.Generator.from_seed(0)
    images = generator.uniform([batch, size, size, 3], maxval=256, dtype=tf.int32)
    return itertools.repeat((tf.cast(images, tf.uint8), tf.zeros([batch, 0])))


def _matrix_size() -> int:
    """Return how large matrices must be to show what the device can do."""
    return MATRIX_ON_GPU if tf.config.get_visible_devices("GPU") else MATRIX


def _matmul_timers(computing: ComputingOptions) -> dict[str, Callable[[], None]]:
    """Return what multiplies matrices in each precision; on GPUs also float32 without TF32."""
    names = {"float32", computing.precision}
    if not tf.config.get_visible_devices("GPU"):
        return {name: _matmul_timer(PRECISIONS[name]) for name in names}
    on = computing.tf32 == "on"
    timers = {name: _matmul_timer(PRECISIONS[name], tf32=on) for name in names | {"bfloat16"}}
    other = "float32 without TF32" if on else "float32 with TF32"
    return {**timers, other: _matmul_timer(tf.float32, tf32=not on)}


def _matmul_timer(dtype: tf.DType, *, tf32: bool | None = None) -> Callable[[], None]:
    """Return a function that multiplies two matrices, and waits for the result.

    tf32: whether this product may use TensorFloat-32; None: as it is set.
    """
    size = _matrix_size()
    a = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), dtype)
    product = tf.function(lambda a: tf.matmul(a, a)[0, 0], autograph=False)

    def run() -> None:
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(before if tf32 is None else tf32)
        product(a).numpy()
        tf.config.experimental.enable_tensor_float_32_execution(before)

    return run


def _report(
    name, subject, median, rates, computing: ComputingOptions, what: list[str]
) -> dict[str, Any]:
    work = subject.gflop_per_image()
    report = {
        "config": name,
        "precision": computing.precision,
        "ops": implementation(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "device_names": describe_devices(),
        "batch": subject.config.training.batch_size,
        "matmul_gflops": rates,
    }
    for kind in what:
        rate = subject.images[kind] / median[name, kind]
        report[kind] = {
            "img_per_sec": rate,
            "gflop_per_img": work[kind],
            "fraction_of_matmul": rate * work[kind] / rates[computing.precision],
        }
    return {**report, "peak_memory_gb": peak_memory_gb()}


def _divided(config: RunConfig, devices: int) -> RunConfig:
    """Return the configuration with its batch divided among the devices, if it is not.

    Raises UserError if it cannot be divided.
    """
    training = config.training
    if training.batch_per_device * devices > training.batch_size:
        size = max(training.batch_size // devices, 1)
        config = dataclasses.replace(
            config, training=dataclasses.replace(training, batch_per_device=size)
        )
    check_batch(config, devices)
    return config


def with_batch(config: RunConfig, batch: int | None) -> RunConfig:
    """Return the configuration with another batch size, all of it at once."""
    if batch is None:
        return config
    training = dataclasses.replace(config.training, batch_size=batch, batch_per_device=batch)
    return dataclasses.replace(config, training=training)


def format_report(report: dict[str, Any], first: dict[str, Any]) -> str:
    """Return a few lines for a person; ratios are to the `first` report of the run."""
    name = Path(report["config"]).stem
    lines = []
    for kind in ("train", "sample"):
        if kind in report:
            figures = report[kind]
            ratio = first[kind]["img_per_sec"] / figures["img_per_sec"]
            lines.append(
                f"{name:32} {kind:6} {figures['img_per_sec']:8.1f} img/s"
                f"  {figures['gflop_per_img']:7.2f} GFLOP/img"
                f"  {figures['fraction_of_matmul']:6.1%} of matmul"
                f"  {ratio:5.2f} x the time of {Path(first['config']).stem}"
            )
    return "\n".join(lines)
