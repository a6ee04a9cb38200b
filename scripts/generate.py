#!/usr/bin/env python3
"""Make images with a trained generator: one file for each seed, or a grid of all of them."""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.numbers import FiniteNumber, WholeNumber  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402

MOST = 1_000_000  # images in one call
PSI = FiniteNumber(-1000, 1000)


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="generate.py", description=__doc__)
    parser.add_argument(
        "--model", required=True, help="run, snapshot, official .pkl, or name of a known model"
    )
    parser.add_argument("--out", required=True, type=Path, help="directory for the images")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", help="such as 0-31 or 1,5,7-9")
    which.add_argument(
        "--num", type=WholeNumber(1, MOST), default=32, help="seeds from 0 to NUM - 1"
    )
    parser.add_argument("--psi", type=PSI, default=0.7, help="truncation; 1: none")
    parser.add_argument(
        "--psi-cutoff", type=WholeNumber(0, 100), help="truncate only layers before this one"
    )
    parser.add_argument(
        "--truncation",
        choices=["component", "official"],
        help="towards the average of each component, or towards one for all as the official "
        "program; left out: component, for official files official",
    )
    parser.add_argument("--noise", default="random", choices=["random", "const", "none"])
    parser.add_argument(
        "--network", default="Gs", choices=["Gs", "G"], help="moving average, or last weights"
    )
    parser.add_argument(
        "--label",
        help="of a conditional model: a class by name or number, a value of each column "
        "(colour=red,size=2), or a number where labels are numbers (age=3.5)",
    )
    parser.add_argument(
        "--grid", action="store_true", help="write one image, grid.png, instead of many files"
    )
    parser.add_argument(
        "--columns", type=WholeNumber(1, 1000), default=8, help="number of columns of the grid"
    )
    parser.add_argument(
        "--attention",
        action="store_true",
        help="write attention.png, too: a grid of attention maps",
    )
    parser.add_computing_options()
    return parser


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not options.grid:
        parser.refuse_without_effect(options, ["columns"], "without --grid")
    if options.psi == 1:
        parser.refuse_without_effect(options, ["psi_cutoff", "truncation"], "with --psi 1")

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import describe_devices
    from gansformer.generation import GenerationOptions, generate_images, parse_seeds

    seeds = parse_seeds(options.seeds) if options.seeds else list(range(options.num))
    computing = ComputingOptions.of(options)
    with computing.apply().scope():
        print(f"computing on {describe_devices()}")
        written = generate_images(
            options.model,
            options.out,
            seeds,
            GenerationOptions(
                psi=options.psi,
                psi_cutoff=options.psi_cutoff,
                truncation=options.truncation,
                noise=options.noise,
                network=options.network,
                label=options.label,
                grid=options.grid,
                columns=options.columns,
                attention=options.attention,
                dtype=computing.dtype,
            ),
        )
    files = [path for path in written if path.name in ("grid.png", "attention.png")]
    if not options.grid:
        files.insert(0, f"{len(seeds)} images in {options.out}")
    print(f"wrote {' and '.join(map(str, files))}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
