#!/usr/bin/env python3
"""Measure training and sampling, as fractions of the machine's matrix multiplication rate."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.files import atomic_file  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402

KINDS = ("train", "sample", "ops")


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument(
        "--config", required=True, nargs="+", help="one or several, measured in turns"
    )
    parser.add_argument("--what", default="train,sample", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, after a first one")
    parser.add_argument("--batch", type=int, help="images at a time (configuration: its own)")
    parser.add_argument("--devices", default="auto", help="auto, cpu or gpu:0")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--ops", default="auto", choices=["auto", "native", "reference"])
    parser.add_argument(
        "--set", dest="assignments", nargs="+", action="extend", default=[], metavar="NAME=VALUE"
    )
    options = parser.parse_args(arguments)
    what = set(options.what.split(","))
    if not what <= set(KINDS):
        raise UserError(f"--what {options.what}: choose from {', '.join(KINDS)}")

    import_tensorflow()
    from training.benchmark import benchmark, format_report, with_batch
    from training.config import load_config
    from training.machine import Machine

    configs = {
        name: with_batch(load_config(name, options.assignments), options.batch)
        for name in options.config
    }
    machine = Machine(options.devices, options.precision, options.ops)
    reports = benchmark(configs, what=what - {"ops"}, machine=machine, rounds=options.rounds)
    if "ops" in what:
        from dnnlib.ops.benchmark import measure

        reports[0]["kernels"] = measure()
    for name, rate in reports[0]["matmul_gflops"].items():
        print(f"matrix product {name}: {rate:.0f} GFLOP/s")
    for report in reports:
        print(format_report(report, reports[0]))
    print(f"peak memory {reports[-1]['peak_memory_gb']:.1f} GB")
    if options.json:
        with atomic_file(options.json, "w") as file:
            json.dump(reports[0] if len(reports) == 1 else reports, file, indent=2)
        print(f"wrote {options.json}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
