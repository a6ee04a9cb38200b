#!/usr/bin/env python3
"""Make images with a trained generator: a file for each seed, an archive, or a grid of all."""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.numbers import WholeNumber  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402
from scripts.sampling_arguments import add_sampling_options, check_sampling_options  # noqa: E402

MOST = 1_000_000  # images in one call


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="generate.py", description=__doc__)
    which = add_sampling_options(parser)
    which.add_argument(
        "--num", type=WholeNumber(1, MOST), default=32, help="seeds from 0 to NUM - 1"
    )
    parser.add_argument(
        "--grid", action="store_true", help="write one image, grid.png, instead of many files"
    )
    parser.add_argument(
        "--columns", type=WholeNumber(1, 1000), default=8, help="number of columns of the grid"
    )
    parser.add_argument(
        "--all-classes",
        action="store_true",
        help="of a conditional model: all seeds for each class; a row for each with --grid",
    )
    parser.add_argument(
        "--attention",
        action="store_true",
        help="write attention.png, too: a grid of attention maps",
    )
    parser.add_argument(
        "--save-w", action="store_true", help="write w.npz, too: what --w takes, here and elsewhere"
    )
    parser.add_argument(
        "--zip", action="store_true", help="write images.zip instead of single files"
    )
    parser.add_argument(
        "--format", default="png", choices=["png", "jpg", "webp"], help="of the images"
    )
    parser.add_computing_options()
    return parser


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    check_sampling_options(parser, options)
    if options.grid:
        parser.refuse_without_effect(options, ["zip"], "with --grid")
    else:
        parser.refuse_without_effect(options, ["columns"], "without --grid")
    if options.all_classes:
        parser.refuse_without_effect(options, ["label", "columns", "w"], "with --all-classes")

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import describe_devices
    from gansformer.generate_images import OutputOptions, generate_images
    from gansformer.generation import parse_seeds
    from scripts.sampling_arguments import sampling_options

    seeds = parse_seeds(options.seeds) if options.seeds else list(range(options.num))
    computing = ComputingOptions.of(options)
    with computing.apply().scope():
        print(f"computing on {describe_devices()}")
        names = ("grid", "columns", "attention", "all_classes", "save_w", "zip", "format")
        count, written = generate_images(
            options.model,
            options.out,
            seeds,
            sampling_options(options, computing.dtype),
            OutputOptions(**{name: getattr(options, name) for name in names}),
        )
    print(f"wrote {count} images: {' and '.join(map(str, written))}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
