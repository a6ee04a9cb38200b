"""From the --devices option to a TensorFlow distribution strategy."""

import re

import tensorflow as tf

from dnnlib.errors import UserError


def make_strategy(devices: str) -> tf.distribute.Strategy:
    """Return the strategy for "auto", "cpu", "cpu:N" (N virtual ones), "gpu" or "gpu:0,1".

    "auto" takes all GPUs, or the CPU where there is none. One device is the ordinary case of a
    strategy with one replica. Must be called before TensorFlow makes its first tensor.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if devices == "auto":
        devices = "gpu" if gpus else "cpu"
    kind, _, argument = devices.partition(":")
    if kind == "cpu" and re.fullmatch(r"([1-9]\d*)?", argument):
        tf.config.set_visible_devices([], "GPU")
        return _cpu_strategy(int(argument or 1))
    if kind == "gpu" and re.fullmatch(r"(\d+(,\d+)*)?", argument):
        return _gpu_strategy(gpus, argument)
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


def _gpu_strategy(gpus: list, argument: str) -> tf.distribute.Strategy:
    if not gpus:
        raise UserError(
            "TensorFlow finds no GPU here; use --devices cpu, or see what doctor.py says about it"
        )
    numbers = [int(n) for n in argument.split(",")] if argument else list(range(len(gpus)))
    for number in numbers:
        if number >= len(gpus):
            raise UserError(f"there is no GPU {number}; there are {len(gpus)}, numbered from 0")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.set_visible_devices([gpus[number] for number in numbers], "GPU")
    names = [f"/gpu:{i}" for i in range(len(numbers))]
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0])
    return tf.distribute.MirroredStrategy(names)
