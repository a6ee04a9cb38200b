"""From the --devices option to a TensorFlow distribution strategy."""

import collections
import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext

import tensorflow as tf

from dnnlib import nvidia
from dnnlib.errors import UserError
from dnnlib.rendezvous import meet
from dnnlib.workers import Workers, find_workers


def make_strategy(devices: str) -> tf.distribute.Strategy:
    """Return the strategy for "auto", "cpu", "cpu:N" (N virtual ones), "gpu" or "gpu:0,1".

    "auto" takes all GPUs, or the CPU where there is none. One device is the ordinary case of a
    strategy with one replica. Must be called before TensorFlow makes its first tensor.

    With TF_CONFIG in the environment, these are the devices of one worker of several. This waits
    for the others. Make variables in `variable_scope(strategy)`, not in the strategy's own scope.
    """
    workers = find_workers()
    gpus = tf.config.list_physical_devices("GPU")
    if devices == "auto":
        devices = "gpu" if gpus else "cpu"
        if not gpus and "CUDA_VISIBLE_DEVICES" not in os.environ and nvidia.has_driver():
            print(f"warning: computing on the CPU: {why_no_gpu()}", file=sys.stderr, flush=True)
    kind, _, argument = devices.partition(":")
    if kind == "cpu" and re.fullmatch(r"([1-9]\d*)?", argument):
        tf.config.set_visible_devices([], "GPU")
        if workers.count > 1 and argument not in ("", "1"):
            raise UserError(f"--devices {devices}: with TF_CONFIG, a worker has one CPU; use cpu")
        return _join(workers) if workers.count > 1 else _cpu_strategy(int(argument or 1))
    if kind == "gpu" and re.fullmatch(r"(\d+(,\d+)*)?", argument):
        names = _choose_gpus(gpus, argument)
        if workers.count > 1:
            return _join(workers)
        if len(names) == 1:
            return tf.distribute.OneDeviceStrategy(names[0])
        return tf.distribute.MirroredStrategy(names)
    raise UserError(
        f"--devices {devices}: use auto, cpu, cpu:N (N virtual devices), gpu or gpu:0,1"
    )


def _cpu_strategy(count: int) -> tf.distribute.Strategy:
    if count == 1:
        return tf.distribute.get_strategy()
    (cpu,) = tf.config.list_physical_devices("CPU")
    virtual = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    tf.config.set_logical_device_configuration(cpu, virtual)
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(count)])


def _choose_gpus(gpus: list, argument: str) -> list[str]:
    """Show only the wanted GPUs to TensorFlow, and return their names."""
    if not gpus:
        raise UserError(
            f"TensorFlow finds no GPU here: {why_no_gpu()}; --devices cpu computes without"
        )
    numbers = [int(n) for n in argument.split(",")] if argument else list(range(len(gpus)))
    for number in numbers:
        if number >= len(gpus):
            raise UserError(f"there is no GPU {number}; there are {len(gpus)}, numbered from 0")
    try:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.set_visible_devices([gpus[number] for number in numbers], "GPU")
    except RuntimeError as error:  # in a notebook: TensorFlow has made tensors already
        raise UserError(
            "TensorFlow works already, and its GPUs cannot be chosen any more; do this first"
        ) from error
    # Grappler would turn each float32 convolution into NCHW, with transposes before and after it.
    tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
    return [f"/gpu:{i}" for i in range(len(numbers))]


def why_no_gpu() -> str:
    """Return in one line why TensorFlow finds no GPU here, and what to do."""
    info = tf.sysconfig.get_build_info()
    if not info.get("is_cuda_build"):
        return f"this TensorFlow is built for the CPU only; {nvidia.INSTALL} brings another"
    versions = nvidia.library_versions(info["cuda_version"], info["cudnn_version"])
    return nvidia.why_no_gpu(versions)


def describe_devices() -> str:
    """Return what this process computes with: "2 x NVIDIA H100 80GB HBM3", or "CPU"."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        count = len(tf.config.list_logical_devices("CPU"))
        return "CPU" if count == 1 else f"CPU as {count} virtual devices"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = collections.Counter(about.get("device_name", "GPU") for about in details)
    return ", ".join(f"{count} x {name}" for name, count in names.items())


def variable_scope(strategy: tf.distribute.Strategy) -> AbstractContextManager:
    """Return the context in which the variables of a program with this strategy are made.

    With several workers, each makes ordinary variables, which `strategy.run` can read. In its own
    scope MultiWorkerMirroredStrategy would send each initial value from worker to worker: needless,
    since all compute the same; a crash where a variable is empty; a wait without end where only one
    worker makes a variable, as the chief does for its evaluation.
    """
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return nullcontext()
    return strategy.scope()


def on_host():
    """Return the context for computing with whole numbers.

    Many of TensorFlow's operations want them there: made on a GPU, they would have to come back.
    """
    return tf.device("CPU:0")


def _join(workers: Workers) -> tf.distribute.Strategy:
    """Wait for the other workers, and return the strategy of all of them together."""
    print(f"worker {workers.index}: waiting for {workers.count} workers", flush=True)
    meet(workers.addresses, workers.index)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(
            f"worker {workers.index}: the connection to the workers {', '.join(workers.addresses)} "
            f"failed ({error.message}); start all of them again"
        ) from error
