#!/usr/bin/env python3
"""Train, measure and report several networks alike: StyleGAN2 against simplex against duplex.

  study.py run smoke                     prepare data, train and measure all rows
  study.py run cartoonset64 --rows simplex    one row, as a job of its own
  study.py status smoke                  how far the rows are
  study.py report smoke                  write report.html and report.md

Whatever interrupts it, the same command goes on. Studies are the files in configs/studies.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.opening import holds_data_set  # noqa: E402
from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.files import require_writable  # noqa: E402
from dnnlib.numbers import LARGEST_SEED  # noqa: E402
from dnnlib.signals import STOPPED  # noqa: E402
from scripts.prepare_data import main as prepare_data  # noqa: E402
from training.study.plan import Study, load_study  # noqa: E402
from training.study.results import find_results, read_study  # noqa: E402
from training.study.run import run_study  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(
        prog="study.py", description=__doc__.split("\n")[0], epilog="each with --help"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    status = commands.add_parser("status", help="print how far the rows are")
    report = commands.add_parser("report", help="write report.html and report.md")
    for command in (status, report):
        command.add_argument("study", help="name of a study, its file, or a directory of its runs")
        command.add_argument("--runs", type=Path, help="directory of the runs; None: runs/NAME")
    report.add_argument("--out", type=Path, help="directory; None: that of the runs")
    return parser


def _add_run(commands) -> None:
    command = commands.add_parser("run", help="prepare data, train and measure")
    command.add_argument("study", help="name of a study in configs/studies, or a file")
    command.add_argument("--rows", help="names with commas between; None: all")
    command.add_argument("--seeds", type=_seeds, help="with commas between; None: the study's")
    command.add_argument("--runs", type=Path, help="directory of the runs; None: runs/NAME")
    command.add_argument("--data", type=Path, help="prepared data set; None: what the study says")
    command.add_computing_options()
    command.add_xla()
    command.add_assignments(example="training.batch_per_device=32 (in all rows)")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise argparse.ArgumentTypeError(f"{text}: use whole numbers with commas between: 0,1,2")
    return tuple(dict.fromkeys(seeds))


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    options = make_parser().parse_args(arguments)
    if options.command == "run":
        if not _run(options):
            sys.exit(STOPPED)
        return
    study, runs = _find(options)
    results = find_results(study, runs)
    if options.command == "status":
        from training.study.status import format_status

        print(format_status(study, results))
        return
    from training.study.report import write_report

    out = options.out or runs
    require_writable(out, "--out")
    for path in write_report(study, results, out):
        print(f"wrote {path}")


def _run(options: argparse.Namespace) -> bool:
    study = load_study(options.study)
    cells = study.choose(options.rows, options.seeds)
    runs = options.runs or _default_runs(options.study)
    require_writable(runs, "--runs")
    for cell in cells:
        cell.check(study, options.assignments)
    data = options.data or Path(study.data)
    if options.data is None and not holds_data_set(data):
        prepare_data([*study.prepare.split(), "--out", str(data)])
    names = ("devices", "precision", "ops", "tf32", "xla")
    return run_study(
        study,
        cells,
        out=runs,
        data=data,
        assignments=options.assignments,
        computing={name: getattr(options, name) for name in names},
    )


def _find(options: argparse.Namespace) -> tuple[Study, Path]:
    """Return the study and the directory of its runs."""
    directory = Path(options.study)
    if directory.is_dir():
        if options.runs is not None:
            raise UserError("--runs has no effect with a directory of runs; leave it out")
        return read_study(directory), directory
    return load_study(options.study), options.runs or _default_runs(options.study)


def _default_runs(study: str) -> Path:
    return Path("runs") / Path(study).stem


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
