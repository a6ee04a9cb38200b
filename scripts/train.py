#!/usr/bin/env python3
"""Train a StyleGAN2 or a GANformer on a prepared data set."""

import argparse
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.numbers import LARGEST, FiniteNumber, seed  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402
from dnnlib.signals import STOPPED  # noqa: E402
from dnnlib.slurm import make_slurm_config  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="train.py", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file, or name of one in configs/")
    parser.add_argument("--data", required=True, type=Path, help="directory of the data set")
    parser.add_argument("--run", required=True, type=Path, help="directory of the run")
    parser.add_argument(
        "--resume", default="auto", help="auto, never, or a checkpoint or run to continue from"
    )
    parser.add_argument(
        "--init-from",
        metavar="MODEL",
        help="start a new run from the networks of a run, snapshot or official .pkl (fine-tuning)",
    )
    parser.add_argument(
        "--status",
        action=_ShowStatus,
        default=argparse.SUPPRESS,
        metavar="RUN",
        help="print the progress of a run, from any shell, and stop",
    )
    parser.add_argument(
        "--kimg",
        type=FiniteNumber(0, LARGEST),
        help="length of the run (configuration: training.kimg)",
    )
    parser.add_argument("--seed", type=seed, help="seed (configuration: training.seed)")
    parser.add_argument(
        "--cluster",
        choices=["slurm"],
        help="slurm: each task that srun has started is one of several workers; "
        "default: what TF_CONFIG says, else one process",
    )
    parser.add_computing_options()
    parser.add_xla()
    parser.add_assignments(example="training.gamma=1")
    parser.add_argument(
        "--dry-run", action="store_true", help="print configuration and networks, and stop"
    )
    return parser


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.resume not in ("auto", "never"):
        parser.refuse_without_effect(options, ["init_from"], "where --resume names a checkpoint")
    assignments = list(options.assignments)
    assignments += [
        f"training.{name}={value}"
        for name, value in (("kimg", options.kimg), ("seed", options.seed))
        if value is not None
    ]

    if options.cluster == "slurm":
        os.environ["TF_CONFIG"] = make_slurm_config(os.environ)
    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from training.config import load_config
    from training.loop import train

    computing = ComputingOptions.of(options)
    if options.dry_run:
        from training.preview import print_preview

        devices = computing.apply().num_replicas_in_sync
        config = load_config(
            options.config, assignments, data=options.data, run=options.run, devices=devices
        )
        print_preview(config, options.data)
        return
    finished = train(
        options.config,
        assignments,
        data=options.data,
        run=options.run,
        resume=options.resume,
        init_from=options.init_from,
        computing=computing,
    )
    if not finished:
        sys.exit(STOPPED)


class _ShowStatus(argparse.Action):
    """As --help: needs no other option."""

    def __call__(self, parser, namespace, value, option_string=None):
        from training.run.status import format_status

        print(format_status(Path(value)))
        parser.exit()


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
