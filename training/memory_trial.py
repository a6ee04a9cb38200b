"""Whether a minibatch fits into the memory of the GPUs, tried in a process of its own.

A trial leaves memory behind, above all one that fails: TensorFlow keeps graphs that use custom
gradients, and with a graph the variables that it reads. That memory is free when the process ends.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from dnnlib.config import from_mapping, to_mapping
from dnnlib.errors import UserError
from dnnlib.memory import is_out_of_memory
from training.config import RunConfig

if TYPE_CHECKING:  # with TensorFlow, which the other process imports without its messages
    import tensorflow as tf

    from dnnlib.computing import ComputingOptions

OUT_OF_MEMORY = 3  # exit status
ROOT = Path(__file__).resolve().parents[1]


def fits_in_memory(
    config: RunConfig, computing: "ComputingOptions", channels: int, label_dim: int
) -> bool:
    """Compute each phase of a minibatch in another process; return whether it had the memory.

    Raises UserError if the trial fails for another reason.
    """
    task = {
        "config": to_mapping(config),
        "computing": dataclasses.asdict(computing),
        "data": {"channels": channels, "label_dim": label_dim},
    }
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(
        [sys.executable, "-m", "training.memory_trial", json.dumps(task)],
        stdin=subprocess.PIPE,  # is open as long as this process lives, see _end_with_parent
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as process:
        messages = process.stderr.read().splitlines()
        status = process.wait()
    if status in (0, OUT_OF_MEMORY, -signal.SIGKILL):  # the last: of the machine
        return status == 0
    raise UserError(
        f"training.batch_per_device={config.training.batch_per_device} could not be tried; give "
        f"a number instead of auto. The trial ended with status {status}: "
        f"{messages[-1] if messages else 'it said nothing'}"
    )


def main() -> None:
    """Try what the argument describes; end with status 0, or OUT_OF_MEMORY."""
    from dnnlib.quiet import import_tensorflow

    task = json.loads(sys.argv[1])
    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import variable_scope

    config = from_mapping(RunConfig, task["config"])
    computing = ComputingOptions(**task["computing"])
    try:
        strategy = computing.apply()
        with variable_scope(strategy):
            compute_each_phase(config, strategy, dtype=computing.dtype, **task["data"])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(OUT_OF_MEMORY)


def _end_with_parent() -> None:
    os.read(0, 1)  # until its other end is closed; sys.stdin would be locked when Python ends
    os._exit(1)


def compute_each_phase(
    config: RunConfig,
    strategy: "tf.distribute.Strategy",
    *,
    channels: int,
    label_dim: int,
    dtype: "tf.DType",
) -> None:
    """Make the networks and train on one micro-batch of black images, in all phases."""
    import tensorflow as tf

    from training.state import TrainState
    from training.step import TrainingStep

    state = TrainState(
        config, channels=channels, label_dim=label_dim, dtype=dtype, strategy=strategy
    )
    step = TrainingStep(config, state)
    size = config.data.resolution
    images = tf.zeros([step.micro_batch, size, size, channels], tf.uint8)
    labels = tf.zeros([step.micro_batch, label_dim])
    first = state.images_shown.read_value()
    for phase in step.phases.values():
        statistics = step.run_phase(phase, images, labels, first, apply=True)
    step.finish_minibatch(first)
    for value in statistics.values():
        value.numpy()  # waits for the device


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
