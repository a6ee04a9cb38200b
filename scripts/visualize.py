#!/usr/bin/env python3
"""Look inside a trained generator.

KIND is one of
  attention      each component's map over the image, overlays, and the legend of components
  layers         what each position attends to most, in all layers and heads
  interpolation  the way through several images, as a strip and as a video that is a loop
  style-mixing   images of rows with some layers of those of columns
  components     each component replaced: what changes, beside where it attends
  noise          what noise decides
  truncation     images over psi
  progress       the same images over the snapshots of a run (video)
  neighbours     the nearest real images of a data set: does it memorise?
  directions     steps along the principal directions of w (PCA), or those that weights amplify

Each file has another beside it, NAME.json, with what it needs to be made again.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.errors import UserError, suggest  # noqa: E402
from dnnlib.numbers import FiniteNumber, WholeNumber  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402
from scripts.sampling_arguments import add_sampling_options, check_sampling_options  # noqa: E402

# The options that each kind has beside those of sampling.
KINDS = {
    "attention": ["layers", "components"],
    "layers": [],
    "interpolation": ["space", "frames", "fps", "video"],
    "style-mixing": ["others", "layers"],
    "components": ["others", "components"],
    "noise": ["draws"],
    "truncation": [],
    "progress": ["fps", "video"],
    "neighbours": ["data", "count", "weights"],
    "directions": ["method", "component", "layers", "count"],
}
MOST_SHOWN = 10_000  # images of one call


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="visualize.py", description=__doc__)
    parser.formatter_class = _Formatter
    parser.add_argument("kind", metavar="KIND", help="what to show, see above")
    add_sampling_options(parser)
    own = parser.add_argument_group("options of some kinds")
    own.add_argument(
        "--layers", help="which of the L slices of w, such as 0-3 (attention, style-mixing, "
        "directions)"
    )  # fmt: skip
    own.add_argument("--components", help="which components, such as 0-7 (attention, components)")
    own.add_argument(
        "--others", metavar="SEEDS", help="seeds of the columns, or of what is put in "
        "(style-mixing, components)"
    )  # fmt: skip
    own.add_argument(
        "--space", default="z", choices=["z", "w"],
        help="great circles in z, or straight lines in w (interpolation)",
    )  # fmt: skip
    own.add_argument(
        "--frames", type=WholeNumber(1, 100_000), default=60, help="from one image to the next "
        "(interpolation)"
    )  # fmt: skip
    own.add_argument(
        "--fps", type=FiniteNumber(1, 60), default=30, help="images per second (interpolation, "
        "progress)"
    )  # fmt: skip
    own.add_argument(
        "--video", choices=["mp4", "gif", "webp"],
        help="format; left out: mp4 if imageio-ffmpeg is installed, else gif (interpolation, "
        "progress)",
    )  # fmt: skip
    own.add_argument(
        "--draws", type=WholeNumber(4, 100_000), default=64, help="how many (noise)"
    )  # fmt: skip
    own.add_argument("--data", type=Path, help="prepared data set or folder (neighbours)")
    own.add_argument(
        "--weights", type=Path, help="folder of feature networks; left out: the cache (neighbours)"
    )
    own.add_argument(
        "--count", type=WholeNumber(1, 512), default=5, help="how many (neighbours, directions)"
    )
    own.add_argument(
        "--method", default="pca", choices=["pca", "closed-form"],
        help="GANSpace or SeFa (directions)",
    )  # fmt: skip
    own.add_argument(
        "--component", type=WholeNumber(0, 10_000), help="whose w; left out: the global latent's "
        "(directions)"
    )  # fmt: skip
    parser.add_computing_options()
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the list of kinds, and shows defaults."""


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.kind not in KINDS:
        raise UserError(
            f"visualize.py: {options.kind} is no kind{suggest(options.kind, KINDS)}; use one of "
            + ", ".join(KINDS)
        )
    own = {name for names in KINDS.values() for name in names}
    others = sorted(own - set(KINDS[options.kind]))
    parser.refuse_without_effect(options, others, f"with {options.kind}")
    check_sampling_options(parser, options)
    if options.kind == "neighbours" and options.data is None:
        parser.error("neighbours needs --data")

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import describe_devices
    from dnnlib.files import require_writable
    from gansformer import visualization
    from gansformer.generation import parse_seeds
    from gansformer.sampling import OpenModel
    from scripts.sampling_arguments import sampling_options
    from training.measure.neighbours import show_neighbours

    shown = visualization.VisualizationOptions(
        seeds=options.seeds and parse_seeds(options.seeds, most=MOST_SHOWN),
        others=options.others and parse_seeds(options.others, most=MOST_SHOWN, option="--others"),
        **{name: getattr(options, name) for name in ("layers", "components", "component", "space")},
        **{name: getattr(options, name) for name in ("frames", "fps", "video", "draws")},
        **{name: getattr(options, name) for name in ("method", "count")},
    )
    visualization.require_video(shown)
    require_writable(options.out, "--out")
    computing = ComputingOptions.of(options)
    with computing.apply().scope():
        print(f"computing on {describe_devices()}")
        opened = OpenModel(options.model, sampling_options(options, computing.dtype))
        if text := None if options.w else opened.describe_label():
            print(f"label: {text}")
        command = shlex.join(["visualize.py", *arguments])
        results = visualization.Results(options.out, options.kind, opened, shown, command)
        if options.kind == "neighbours":
            written = show_neighbours(opened, shown, results, options.data, options.weights)
        else:
            written = visualization.KINDS[options.kind](opened, shown, results)
        for path in written:
            print(f"wrote {path}", flush=True)


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
