"""The options that generate.py and visualize.py have in common."""

import argparse
from pathlib import Path

from dnnlib.cli import ArgumentParser
from dnnlib.numbers import FiniteNumber, WholeNumber

PSI = FiniteNumber(-1000, 1000)


def add_sampling_options(parser: ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add --model, --out, --seeds, --w, and how images are made.

    Returns the group of --seeds and --w, of which one can be given.
    """
    parser.add_argument(
        "--model", required=True, help="run, snapshot, official .pkl, or name of a known model"
    )
    parser.add_argument("--out", required=True, type=Path, help="directory for the images")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", help="such as 0-31 or 1,5,7-9")
    which.add_argument(
        "--w", type=Path, help="in place of seeds: a file of generate.py --save-w or project.py"
    )
    parser.add_argument("--psi", type=PSI, default=0.7, help="truncation; 1: none")
    parser.add_argument(
        "--psi-cutoff", type=WholeNumber(0, 100), help="truncate only layers before this one"
    )
    parser.add_argument(
        "--psi-layers",
        metavar="LAYERS=PSI,...",
        help="another psi in some layers, such as 0-3=0.5,8-10=1",
    )
    parser.add_argument(
        "--truncation",
        choices=["component", "official"],
        help="towards the average of each component, or towards one for all as the official "
        "program; left out: component, for official files official",
    )
    parser.add_argument("--noise", default="random", choices=["random", "const", "none"])
    parser.add_network()
    parser.add_argument(
        "--label",
        help="of a conditional model: a class by name or number, a value of each column "
        "(colour=red,size=2), or a number where labels are numbers (age=3.5)",
    )
    parser.add_argument(
        "--blend",
        metavar="MODEL",
        help="take the layers of higher resolutions from this model (layer swapping)",
    )
    parser.add_argument(
        "--blend-from",
        type=WholeNumber(4, 4096),
        default=32,
        metavar="PIXELS",
        help="the resolution from which on they are taken",
    )
    return which


def check_sampling_options(parser: ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that have no effect beside the others."""
    psi_options = ["psi_cutoff", "psi_layers", "truncation"]
    if options.w is not None:
        parser.refuse_without_effect(options, ["psi", *psi_options, "label"], "with --w")
    if options.psi == 1 and not options.psi_layers:
        parser.refuse_without_effect(options, psi_options, "with --psi 1")
    if options.blend is None:
        parser.refuse_without_effect(options, ["blend_from"], "without --blend")


def sampling_options(options: argparse.Namespace, dtype):
    """Return gansformer.sampling.SamplingOptions."""
    from gansformer.sampling import SamplingOptions  # imports TensorFlow

    names = ("psi", "psi_cutoff", "psi_layers", "truncation", "noise", "network", "label")
    names += ("blend", "blend_from", "w")
    return SamplingOptions(**{name: getattr(options, name) for name in names}, dtype=dtype)
