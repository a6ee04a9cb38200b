#!/usr/bin/env python3
"""Measure training and sampling, as fractions of the machine's matrix multiplication rate."""

import json
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.files import atomic_file, require_writable  # noqa: E402
from dnnlib.numbers import WholeNumber  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402

KINDS = ("train", "sample", "ops")


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument(
        "--config", required=True, nargs="+", help="one or several, measured alternately"
    )
    parser.add_argument(
        "--what",
        default="train,sample",
        help=f"what to measure, separated by commas: {', '.join(KINDS)}",
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--rounds",
        type=WholeNumber(1, 1000),
        default=3,
        help="measurements, after one that is not counted",
    )
    parser.add_argument(
        "--batch",
        type=WholeNumber(1, 2**20),
        help="images at a time (default: that of the configuration)",
    )
    parser.add_argument(
        "--sweep",
        metavar="NAME=VALUES",
        help="resolution=32,64,128, components=4,8 or batch=1,4: measure at each of these values, "
        "each configuration in a process of its own (its peak memory is then its own)",
    )
    parser.add_computing_options()
    parser.add_xla()
    parser.add_assignments(example="generator.channel_max=32")
    return parser


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    what = set(options.what.split(","))
    if not what <= set(KINDS):
        raise UserError(f"--what {options.what}: choose from {', '.join(KINDS)}")

    if options.sweep and "ops" in what:
        raise UserError("--what ops does not depend on a configuration; leave out --sweep")
    if what == {"ops"}:
        parser.refuse_without_effect(options, ["batch", "rounds", "assignments"], "on --what ops")
    if (options.sweep or "").startswith("batch="):
        parser.refuse_without_effect(options, ["batch"], "with --sweep batch=...")

    if options.json:
        require_writable(options.json.parent, "--json")
        if options.json.is_dir():
            raise UserError(f"--json {options.json} is a directory; give the name of a file")

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from training.config import load_config
    from training.measure.benchmark import benchmark, with_batch
    from training.measure.sweep import make_points, measure_in_processes

    configs = {
        name: with_batch(load_config(name, options.assignments), options.batch)
        for name in options.config
    }
    measuring = {
        "what": what - {"ops"},
        "computing": ComputingOptions.of(options),
        "rounds": options.rounds,
    }
    if options.sweep:
        reports = []
        for setting, changed in make_points(configs, options.sweep):
            point = [{**setting, **report} for report in measure_in_processes(changed, **measuring)]
            print(", ".join(f"{name} {value}" for name, value in setting.items()))
            _print_reports(point)
            reports += point
    else:
        reports = benchmark(configs, **measuring)
        if "ops" in what:
            from dnnlib.ops.timing import measure

            reports[0]["kernels"] = measure()
        _print_reports(reports)
    if options.json:
        with atomic_file(options.json, "w") as file:
            json.dump(reports[0] if len(reports) == 1 else reports, file, indent=2)
        print(f"wrote {options.json}")


def _print_reports(reports: list[dict]) -> None:
    from training.measure.benchmark import format_report

    print(f"computing on {reports[0]['device_names']}")
    for name, rate in reports[0]["matmul_gflops"].items():
        print(f"matrix product {name}: {rate:.0f} GFLOP/s")
    for report in reports:
        print(format_report(report, reports[0]))
    memory = ", ".join(f"{report['peak_memory_gb']:.1f} GB" for report in reports)
    print(f"peak memory {memory}", flush=True)


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
