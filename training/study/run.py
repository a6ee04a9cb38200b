"""Training and measuring the runs of a study, each in a process of its own."""

import itertools
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnnlib import cli
from dnnlib.child_processes import end_with_parent
from dnnlib.config import to_mapping
from dnnlib.errors import UserError
from dnnlib.files import atomic_file, lock
from dnnlib.json_lines import append_line, cut_partial_line
from dnnlib.quiet import import_tensorflow
from dnnlib.signals import STOPPED, StopSignal
from metrics.names import Metric, parse_metrics
from training.run.checkpoint import list_checkpoints
from training.run.directory import config_of_run
from training.study.plan import Cell, Study
from training.study.results import DESCRIPTION, is_of, read_points

if TYPE_CHECKING:  # with TensorFlow, which the process that starts the others does without
    from metrics.comparison import Comparison

LOCK = ".study.lock"


def run_study(
    study: Study,
    cells: Sequence[Cell],
    *,
    out: Path,
    data: Path,
    assignments: Sequence[str] = (),
    computing: dict[str, Any],
    report: Callable[[str], None] = print,
) -> bool:
    """Train and measure runs one after the other; return False where a signal stopped that.

    out: directory of the runs. computing: fields of ComputingOptions. A run that fails, or that
    another process works on, is left out and the next one begins; in the end UserError names them.
    """
    failed = {}
    with StopSignal() as stop:
        for cell in cells:
            report(f"== {cell.name}: {out / cell.name}")
            status = _work_in_process(study, cell, out, data, list(assignments), computing, stop)
            if stop.requested or status == STOPPED:
                report("stopped; run the same command to continue")
                return False
            if status != 0:
                failed[cell.name] = _describe(status)
                report(f"== {cell.name} {failed[cell.name]}; going on without it")
    if failed:
        names = ", ".join(f"{name} ({status})" for name, status in failed.items())
        raise UserError(
            f"not finished: {names}; what went wrong is said above. The same command tries again"
        )
    return True


def _work_in_process(
    study: Study,
    cell: Cell,
    out: Path,
    data: Path,
    assignments: list[str],
    computing: dict[str, Any],
    stop: StopSignal,
) -> int:
    """Work on a run in another process; return its exit status, negative after a signal.

    Its memory and its crashes are its own. It ends when this process ends, in whatever way.
    """
    context = multiprocessing.get_context("spawn")
    arguments = (study, cell, out / cell.name, data, assignments, computing)
    process = context.Process(target=_work, args=arguments)
    process.start()
    passed_on = False
    while process.is_alive():
        process.join(0.2)
        if stop.requested and not passed_on and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
            passed_on = True
    return process.exitcode


def _work(*arguments) -> None:
    """Work on a run in this process; end with the exit status of a program."""
    os.setsid()  # Ctrl-C goes to the process that started this one, which passes it on
    end_with_parent()

    def main(_: Sequence[str]) -> None:
        if not work_on_run(*arguments):
            sys.exit(STOPPED)

    sys.exit(cli.run(main))


def work_on_run(
    study: Study,
    cell: Cell,
    run: Path,
    data: Path,
    assignments: list[str],
    computing: dict[str, Any],
) -> bool:
    """Train a run to its end and measure it at the points; return False if a signal stopped it."""
    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from training.loop import train

    assignments = cell.assignments(study, assignments)
    options = ComputingOptions(**computing)
    with hold_row(run):
        describe_run(study, cell, run)
        shown = [int(path.name) for path in list_checkpoints(run)]
        if shown and shown[-1] >= study.kimg * 1000:
            options.apply()
        elif not train(cell.row.config, assignments, data=data, run=run, computing=options):
            return False
        measure_run(study, run, data, mirror=config_of_run(run).data.mirror)
    return True


def measure_run(study: Study, run: Path, data: Path, *, mirror: bool) -> None:
    """Append to metrics.jsonl what the study wants to know of each point and is not there yet."""
    from gansformer.snapshot import list_snapshots
    from metrics.comparison import Comparison
    from training.measure.evaluation import EvaluationOptions, evaluate_model
    from training.run.retention import find_milestone

    path = run / "metrics.jsonl"
    cut_partial_line(path)
    snapshots, there = list_snapshots(run / "snapshots"), read_points(run)
    missing = {}
    for point in study.points:
        values = there[point]["metrics"] if point in there else {}
        metrics = parse_metrics(study.metrics)
        missing[point] = [m for m in metrics if not any(is_of(m, name) for name in values)]
    comparison = Comparison()
    computable = _find_computable(dict.fromkeys(itertools.chain(*missing.values())), comparison)
    for point, metrics in missing.items():
        snapshot = find_milestone(snapshots, point)
        metrics = [metric for metric in metrics if metric in computable]
        if snapshot is None or not metrics:
            continue
        options = EvaluationOptions(mirror=mirror)
        record = evaluate_model(str(snapshot), data, metrics, comparison, options)
        append_line(path, {"point": point, **record})
        values = "  ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
        print(f"{point:g} kimg: {values}", flush=True)


def _find_computable(metrics: Iterable[Metric], comparison: "Comparison") -> list[Metric]:
    """Return the metrics whose networks can be had, and report the others."""
    from metrics.networks.catalogue import load_network

    found = []
    for metric in metrics:
        name = metric.kind.network
        try:
            if name not in comparison.networks:
                comparison.networks[name] = load_network(name, comparison.directory)
            found.append(metric)
        except UserError as error:
            print(f"{metric.name} is left out: {error}", flush=True)
    return found


def describe_run(study: Study, cell: Cell, run: Path) -> None:
    """Write into a run's directory what study it belongs to, and the machine."""
    description = {
        "study": {**to_mapping(study), "rows": [to_mapping(row) for row in study.rows]},
        "row": cell.row.name,
        "seed": cell.seed,
        "host": platform.node(),
        "processor": _processor(),
    }
    with atomic_file(run / DESCRIPTION, "w") as file:
        json.dump(description, file, indent=1)


def _processor() -> str:
    """Return the model of the processor, and how many of its threads there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}"


@contextmanager
def hold_row(run: Path) -> Iterator[None]:
    """Keep other processes from working on a run, between training and measuring as well.

    The lock belongs to the open file and is gone when the process ends, in whatever way.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / LOCK, "a", encoding="utf-8") as file:
        for attempt in range(10):  # one whose parent was killed may be about to end
            try:
                lock(file, wait=False)
                break
            except BlockingIOError:
                time.sleep(0.05 * attempt)
        else:
            raise UserError(f"{run}: another process works on this row; leave it to that one")
        yield


def _describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
