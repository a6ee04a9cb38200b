"""Starting the workers of one job on this machine, as torchrun does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from dnnlib.errors import UserError
from dnnlib.nvidia import find_gpus
from dnnlib.signals import NUMBERS, STOPPED

GRACE_S = 120  # for the others to end by themselves when one has failed or a signal came


def launch(program: Sequence[str], workers: int) -> bool:
    """Run `python program...` in several processes, joined by TF_CONFIG, until all have ended.

    A signal is passed on to all. When one fails, the others are ended too. Returns whether all came
    to their end, False where they stopped at a signal. Raises UserError that names the first that
    failed.
    """
    if workers < 1:
        raise UserError(f"{workers} workers: at least 1 is needed")
    gpus = divide_gpus(find_gpus(), workers)
    addresses = [f"127.0.0.1:{port}" for port in find_ports(workers)]
    processes: list[subprocess.Popen] = []
    pass_on = lambda number, frame: _signal_all(processes, number)  # noqa: E731
    previous = {
        number: signal.signal(number, pass_on)
        for number in NUMBERS
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT
    }
    try:
        for index in range(workers):
            environment = {**os.environ, "TF_CONFIG": make_tf_config(addresses, index)}
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[index])
            command = [sys.executable, *program]
            # A session of its own: Ctrl-C reaches the workers once, through us.
            process = subprocess.Popen(command, env=environment, start_new_session=True)
            processes.append(process)
        failed = _wait(processes)
    finally:
        _signal_all(processes, signal.SIGKILL)
        for number, handler in previous.items():
            signal.signal(number, handler)
    if failed is not None:
        raise UserError(
            f"worker {failed} {_describe(processes[failed].returncode)}; all have been stopped. "
            "Look at its output; the same command continues"
        )
    return all(process.returncode == 0 for process in processes)


def make_tf_config(addresses: Sequence[str], index: int) -> str:
    """Return the TF_CONFIG of one worker."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})


def find_ports(count: int) -> list[int]:
    """Return free ports of this machine."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def divide_gpus(gpus: Sequence[str], workers: int) -> list[list[str]]:
    """Return the GPUs of each worker; an empty list if there are none."""
    if gpus and len(gpus) % workers:
        raise UserError(
            f"{len(gpus)} GPUs do not divide into {workers} workers; choose another number of "
            "workers, set CUDA_VISIBLE_DEVICES, or leave it empty to use the CPU"
        )
    count = len(gpus) // workers
    return [list(gpus[n * count : (n + 1) * count]) for n in range(workers)] if gpus else []


def _wait(processes: Sequence[subprocess.Popen]) -> int | None:
    """Wait until all have ended, and return which one failed first, if any."""
    failed, deadline = None, float("inf")
    while any(process.poll() is None for process in processes):
        for index, process in enumerate(processes):
            if failed is None and process.poll() not in (None, 0, STOPPED):
                failed, deadline = index, time.monotonic() + GRACE_S
                print(f"worker {index} {_describe(process.returncode)}", file=sys.stderr)
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    if failed is None:
        bad = (n for n, process in enumerate(processes) if process.poll() not in (0, STOPPED))
        failed = next(bad, None)
    return failed


def _signal_all(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
