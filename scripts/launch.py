#!/usr/bin/env python3
"""Start several processes on this machine that train together.

  launch.py 2 train.py --config cartoonset64-duplex --data DIR --run DIR

GPUs are divided among the workers. Several machines: start train.py on each of them with TF_CONFIG
set, or with srun and --cluster slurm, see docs/distribution.md. One process uses all GPUs of its
machine without this program.
"""

import argparse
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.launching import launch  # noqa: E402
from dnnlib.numbers import WholeNumber  # noqa: E402
from dnnlib.signals import STOPPED  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="launch.py", description=__doc__.split("\n")[0])
    parser.add_argument("workers", type=WholeNumber(1, 1000), help="number of processes")
    parser.add_argument("program", help="such as train.py, with its own options after it")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of the program")
    return parser


def main(arguments: list[str]) -> None:
    """Start the workers and wait for them."""
    options = make_parser().parse_args(arguments)
    program = Path(options.program)
    if not program.is_file():
        program = Path(__file__).resolve().parent / options.program
    if not program.is_file():
        raise UserError(f"{options.program}: no such program; give the path of train.py")
    if not launch([str(program), *options.options], options.workers):
        sys.exit(STOPPED)


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
