#!/usr/bin/env python3
"""Convert an official pickle into a snapshot directory.

Of TensorFlow 1 (GANformer, StyleGAN2, StyleGAN2-ADA) or of PyTorch (StyleGAN2-ADA, GANformer);
neither is needed, and nothing in the pickle is executed. A variable that does not fit is an error
that names it. All programs read the pickle itself, too; a snapshot loads faster. The source can
also be a run or a snapshot: --networks Gs --half makes it small enough to publish.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.numbers import FiniteNumber  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="convert_checkpoint.py", description=__doc__)
    parser.add_argument(
        "source",
        help="official .pkl, known model such as clevr-256, or run or snapshot directory",
    )
    parser.add_argument("--out", required=True, type=Path, help="directory of the snapshot")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["G", "D", "Gs"],
        choices=["G", "D", "Gs"],
        help="which to keep; Gs alone is enough for sampling",
    )
    parser.add_argument("--half", action="store_true", help="store float16: half the size")
    parser.add_argument(
        "--ratio",
        type=FiniteNumber(above=0, high=1),
        help="height / width of the useful part of the images, which the pickle does not contain; "
        "known for the published models",
    )
    parser.add_argument(
        "--normalize",
        choices=["each", "jointly"],
        help="components of a GANformer from PyTorch: each by itself, as in TensorFlow, or "
        "jointly, as the PyTorch program does; default: each if it was converted from TensorFlow",
    )
    return parser


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)

    import_tensorflow()
    from gansformer.checkpoint_conversion import convert_checkpoint

    convert_checkpoint(
        options.source,
        options.out,
        networks=tuple(options.networks),
        half=options.half,
        ratio=options.ratio,
        normalize_jointly=options.normalize and options.normalize == "jointly",
    )
    print(f"wrote {options.out}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
