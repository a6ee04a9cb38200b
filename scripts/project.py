#!/usr/bin/env python3
"""Find the w and the noise from which a generator makes an image most like a given one.

The distance is LPIPS where its weights are there (see evaluate.py --help), else EfficientNet's
features and pixels at several scales. w.npz is what generate.py and visualize.py take as --w.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.numbers import FiniteNumber, WholeNumber, seed  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="project.py", description=__doc__)
    parser.add_argument(
        "--model", required=True, help="run, snapshot, official .pkl, or name of a known model"
    )
    parser.add_argument(
        "--target",
        required=True,
        nargs="+",
        type=Path,
        help="image files; of another size, they are resized",
    )
    parser.add_argument("--out", required=True, type=Path, help="directory for the results")
    parser.add_argument("--steps", type=WholeNumber(1, 1_000_000), default=1000)
    parser.add_argument(
        "--space",
        default="w",
        choices=["w", "w+"],
        help="w: one vector for each component; w+: one for each component and layer",
    )
    parser.add_argument(
        "--rate",
        type=FiniteNumber(above=0, high=100),
        default=0.1,
        help="highest learning rate, in standard deviations of w",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the first noise and of that on w")
    parser.add_argument(
        "--label", help="of a conditional model: the class that the image is of, see generate.py"
    )
    parser.add_network()
    parser.add_argument(
        "--video",
        choices=["mp4", "gif", "webp"],
        help="format; left out: mp4 if imageio-ffmpeg is installed, else gif",
    )
    parser.add_argument(
        "--weights", type=Path, help="folder of feature networks; left out: the cache"
    )
    parser.add_computing_options()
    return parser


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import describe_devices
    from gansformer.sampling import SamplingOptions
    from training.projection import ProjectionOptions, project_images

    computing = ComputingOptions.of(options)
    with computing.apply().scope():
        print(f"computing on {describe_devices()}")
        written = project_images(
            options.model,
            options.target,
            options.out,
            SamplingOptions(
                psi=1.0, network=options.network, label=options.label, dtype=computing.dtype
            ),
            ProjectionOptions(
                steps=options.steps,
                space=options.space,
                rate=options.rate,
                seed=options.seed,
                video=options.video,
                weights=options.weights,
            ),
        )
    print(f"wrote {written[0]} and {len(written) - 1} other files in {options.out}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
