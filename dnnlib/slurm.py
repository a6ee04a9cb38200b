"""The workers of a job step of Slurm, as the variables say that srun gives each of its tasks.

Slurm names the nodes (node[01-03]), how many tasks each has (2(x3)), and which task this is. Task
number n runs on the nodes in their order, each filled before the next, which is Slurm's "block"
distribution and the usual one; a task that finds itself elsewhere ends with an error.
"""

import itertools
import re
from collections.abc import Mapping

from dnnlib.errors import UserError
from dnnlib.launching import make_tf_config
from dnnlib.nvidia import find_gpus

# Ports from 10000 on, below those that Linux gives to connections (32768). Jobs that share a node
# have different ones, unless their numbers differ by a multiple of 353.
FIRST_PORT, STEPS, TASKS_OF_A_NODE = 10000, 353, 64


def make_slurm_config(environment: Mapping[str, str]) -> str:
    """Return the TF_CONFIG of this task: one worker a task, the first one is the chief.

    environment: of a process that srun has started. Raises UserError if there is no srun, the
    tasks are placed in another way, or several tasks of a node see the same GPUs.
    """
    try:
        nodes = expand_hosts(environment["SLURM_STEP_NODELIST"])
        tasks = expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        names = ("JOB_ID", "STEP_ID", "PROCID", "NODEID", "LOCALID")
        job, step, index, node, local = (int(environment[f"SLURM_{name}"]) for name in names)
        places = [
            (number, task)
            for number, count in zip(range(len(nodes)), tasks, strict=True)
            for task in range(count)
        ]
        place = places[index]
    except KeyError as error:
        raise UserError(
            f"--cluster slurm: {error.args[0]} is not set; start it with srun in an allocation: "
            "srun train.py ..."
        ) from None
    except (ValueError, IndexError):
        found = {name: text for name, text in environment.items() if name.startswith("SLURM_STEP")}
        raise UserError(f"--cluster slurm: Slurm's variables make no sense: {found}") from None
    if max(tasks) > TASKS_OF_A_NODE:
        raise UserError(f"--cluster slurm: at most {TASKS_OF_A_NODE} tasks a node; use fewer")
    if place != (node, local):
        raise UserError(
            f"--cluster slurm: task {index} is number {local} of node {node}, not {place[1]} of "
            f"{place[0]}; add --distribution=block to srun"
        )
    if tasks[node] > 1 and "SLURM_GPUS_PER_TASK" not in environment and len(find_gpus()) > 1:
        raise UserError(
            "--cluster slurm: the tasks of this node all see the same GPUs; add --gpus-per-task=1 "
            "to srun"
        )
    port = FIRST_PORT + (job + step) % STEPS * TASKS_OF_A_NODE
    addresses = [f"{nodes[number]}:{port + task}" for number, task in places]
    return make_tf_config(addresses, index)


def expand_hosts(text: str) -> list[str]:
    """Return the names of a list of hosts such as a[01-03,7],b, as `scontrol show hostnames` does.

    Raises ValueError if it is none.
    """
    hosts = []
    for name in re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+|,|.", text):
        if name == ",":
            continue
        if not re.fullmatch(r"(?:[^\[\]]|\[[\d,-]+\])+", name):
            raise ValueError(f"{text} is no list of hosts")
        parts = re.split(r"\[(.*?)\]", name)  # text, ranges, text, ranges, ..., text
        choices = [_expand_ranges(part) if n % 2 else [part] for n, part in enumerate(parts)]
        hosts += ["".join(choice) for choice in itertools.product(*choices)]
    return hosts


def expand_counts(text: str) -> list[int]:
    """Return the numbers of a list such as 2(x3),1: 2, 2, 2, 1. Raises ValueError if it is none."""
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(f"{text} is no list of numbers of tasks")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _expand_ranges(text: str) -> list[str]:
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += [
            f"{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1)
        ]
    return numbers
