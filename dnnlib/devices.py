"""From the --devices option to a TensorFlow distribution strategy."""

import functools
import re
import socket
import time
from collections.abc import Sequence

import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import coordination_config_pb2
from tensorflow.python.distribute.mirrored_strategy import MirroredExtended
from tensorflow.python.eager import context

from dnnlib.errors import UserError
from dnnlib.workers import Workers, find_workers

START_TIMEOUT_S = 300  # for all workers to be there
LOST_TIMEOUT_S = 60  # for one that no longer answers; one whose process ended is noticed at once


def make_strategy(devices: str) -> tf.distribute.Strategy:
    """Return the strategy for "auto", "cpu", "cpu:N" (N virtual ones), "gpu" or "gpu:0,1".

    "auto" takes all GPUs, or the CPU where there is none. One device is the ordinary case of a
    strategy with one replica. Must be called before TensorFlow makes its first tensor.

    With TF_CONFIG in the environment, these are the devices of one worker of several. This waits
    for the others.
    """
    workers = find_workers()
    gpus = tf.config.list_physical_devices("GPU")
    if devices == "auto":
        devices = "gpu" if gpus else "cpu"
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
            "TensorFlow finds no GPU here; use --devices cpu, or see what doctor.py says about it"
        )
    numbers = [int(n) for n in argument.split(",")] if argument else list(range(len(gpus)))
    for number in numbers:
        if number >= len(gpus):
            raise UserError(f"there is no GPU {number}; there are {len(gpus)}, numbered from 0")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.set_visible_devices([gpus[number] for number in numbers], "GPU")
    return [f"/gpu:{i}" for i in range(len(numbers))]


def _join(workers: Workers) -> tf.distribute.Strategy:
    """Wait for the other workers, and return the strategy of all of them together."""
    _require_free_port(workers.addresses[workers.index])
    jobs = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    # TensorFlow would wait for an hour, and tells no other way than this of changing that.
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:{}/replica:0/task:0".format("chief" if "chief" in jobs else "worker"),
        cluster_register_timeout_in_ms=START_TIMEOUT_S * 1000,
        heartbeat_timeout_in_ms=LOST_TIMEOUT_S * 1000,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name=name, num_tasks=len(tasks))
            for name, tasks in jobs.items()
        ],
    )
    print(f"worker {workers.index}: waiting for {workers.count} workers", flush=True)
    message = (
        f"worker {workers.index}: the workers {', '.join(workers.addresses)} did not come"
        f" together; start all of them within {START_TIMEOUT_S} s"
    )
    if workers.is_chief and not _all_listen(workers.addresses[1:]):
        raise UserError(message)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(message) from error
    # It would send each initial value from worker to worker: needless, for all compute the same;
    # a crash of TensorFlow where one is empty; a wait for ever where only one worker makes it.
    extended = strategy.extended
    extended._get_variable_creator_initial_value = functools.partial(
        MirroredExtended._get_variable_creator_initial_value, extended
    )
    return strategy


def _all_listen(addresses: Sequence[str]) -> bool:
    """Wait for the other workers, as TensorFlow's chief does without end and deaf to signals."""
    missing, deadline = list(addresses), time.monotonic() + START_TIMEOUT_S
    while missing and time.monotonic() < deadline:
        host, _, port = missing[0].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            missing.pop(0)
        except OSError:
            time.sleep(0.2)
    return not missing


def _require_free_port(address: str) -> None:
    port = address.rpartition(":")[2]
    if not port.isdigit():
        raise UserError(f"TF_CONFIG: {address} has no port; write it like {address}:9000")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(port)))
        except OSError as error:
            raise UserError(
                f"TF_CONFIG: port {port} cannot be used ({error.strerror}); choose another one"
            ) from error
