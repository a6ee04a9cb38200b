#!/usr/bin/env python3
"""Write a generator as files that other programs load: SavedModel, TFLite, ONNX or plain arrays.

No file needs this project to be loaded. Inputs are z (and labels), psi, psi_cutoff and a seed for
the noise of each image; outputs are images as float32 and as uint8. docs/export.md has examples.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="export.py", description=__doc__)
    parser.add_argument(
        "--model", required=True, help="run, snapshot, official .pkl, or name of a known model"
    )
    parser.add_argument("--out", required=True, type=Path, help="new directory for the files")
    parser.add_argument(
        "--format",
        required=True,
        choices=["saved_model", "tflite", "onnx", "npz"],
        help="npz: weights as arrays, for other programs' own networks",
    )
    parser.add_network()
    parser.add_argument(
        "--attention", action="store_true", help="attention maps are outputs, too (not of npz)"
    )
    return parser


def main(arguments: list[str]) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.format == "npz":
        parser.refuse_without_effect(options, ["attention"], "with --format npz")

    import_tensorflow()
    from gansformer.export import export_generator

    written = export_generator(
        options.model,
        options.out,
        options.format,
        network=options.network,
        attention=options.attention,
    )
    size = sum(path.stat().st_size for path in written)
    print(f"wrote {len(written)} files, {size / 1e6:.1f} MB, in {options.out}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
