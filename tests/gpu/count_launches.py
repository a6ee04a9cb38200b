#!/usr/bin/env python3
"""Count the launches and copies of each training phase, and time the host, on fake GPUs.

    ../shared/gpu/fake/fake-gpus 1 python tests/gpu/count_launches.py --config cartoonset64-duplex

One line a phase: a micro-batch whose gradient the optimiser applies; and the moving average.
"""

import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402

REPEATS = 10  # of the timing of the host


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="count_launches.py", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--kernels", type=int, default=0, help="how many kernels to list a phase")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_computing_options()
    parser.add_assignments(example="training.batch_per_device=8")
    options = parser.parse_args(arguments)
    import_tensorflow()

    import tensorflow as tf

    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import variable_scope
    from training.config import load_config
    from training.state import TrainState
    from training.step import TrainingStep

    config = load_config(options.config, options.assignments)
    computing = ComputingOptions.of(options)
    strategy = computing.apply()
    with variable_scope(strategy):
        state = TrainState(config, channels=3, label_dim=0, dtype=computing.dtype)
        step = TrainingStep(config, state)
        size = config.data.resolution
        images = tf.zeros([step.micro_batch, size, size, 3], tf.uint8)
        labels = tf.zeros([step.micro_batch, 0])

        def run_phase(phase):
            first = state.images_shown.read_value()
            return lambda: step.run_phase(phase, images, labels, first, apply=True)

        parts = {name: run_phase(phase) for name, phase in step.phases.items()}
        parts["average"] = lambda: step.finish_minibatch(state.images_shown.read_value())
        report = {name: _measure(name, part, options.kernels) for name, part in parts.items()}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _measure(name: str, part, kernels: int) -> dict[str, float]:
    import fake_gpus

    part(), part()
    calls, names = fake_gpus.calls(), fake_gpus.kernels()
    part()
    done = fake_gpus.calls() - calls
    kernels_done = fake_gpus.kernels() - names
    listed = kernels_done.most_common(kernels)
    started, started_cpu = time.perf_counter(), time.process_time()
    for _ in range(REPEATS):
        part()
    figures = {
        "launches": done.count(fake_gpus.LAUNCHES),
        "transposes": sum(n for k, n in kernels_done.items() if re.search("Swap|Shuffle", k)),
        "to_device": done["cuMemcpyHtoDAsync_v2"],
        "to_host": done["cuMemcpyDtoHAsync_v2"],
        "in_device": done["cudaMemcpyAsync"] + done["cuMemcpyDtoDAsync_v2"],
        "host_ms": round(1000 * (time.perf_counter() - started) / REPEATS, 1),
        "host_cpu_ms": round(1000 * (time.process_time() - started_cpu) / REPEATS, 1),
    }
    print(name, ", ".join(f"{key} {value}" for key, value in figures.items()), flush=True)
    for kernel, count in listed:
        print(f"{count:8} {kernel}")
    return figures


if __name__ == "__main__":
    sys.exit(run(main))
