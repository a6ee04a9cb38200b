#!/usr/bin/env python3
"""Make pictures with a trained generator: one file for each seed, and a sheet of all."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402


def main(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="generate.py", description=__doc__)
    parser.add_argument(
        "--model", required=True, help="run, snapshot, official .pkl, or name of a known model"
    )
    parser.add_argument("--out", required=True, type=Path, help="directory for the pictures")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", help="such as 0-31 or 1,5,7-9")
    which.add_argument("--num", type=int, default=32, help="seeds from 0 to NUM - 1")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation; 1: none")
    parser.add_argument("--psi-cutoff", type=int, help="truncate only layers before this one")
    parser.add_argument("--noise", default="random", choices=["random", "const", "none"])
    parser.add_argument(
        "--network", default="Gs", choices=["Gs", "G"], help="moving average, or last weights"
    )
    parser.add_argument("--label", help="class of a conditional model: a number or a name")
    parser.add_argument("--grid", action="store_true", help="write one sheet instead of files")
    parser.add_argument("--columns", type=int, default=8, help="of the sheet")
    parser.add_argument(
        "--attention", action="store_true", help="write a sheet of attention maps as well"
    )
    parser.add_argument("--devices", default="auto", help="auto, cpu or gpu:0")
    parser.add_argument("--ops", default="auto", choices=["auto", "native", "reference"])
    options = parser.parse_args(arguments)

    import_tensorflow()
    from training.generation import GenerationOptions, generate_pictures, parse_seeds

    seeds = parse_seeds(options.seeds) if options.seeds else list(range(options.num))
    written = generate_pictures(
        options.model,
        options.out,
        seeds,
        GenerationOptions(
            psi=options.psi,
            psi_cutoff=options.psi_cutoff,
            noise=options.noise,
            network=options.network,
            label=options.label,
            grid=options.grid,
            columns=options.columns,
            attention=options.attention,
            devices=options.devices,
            ops=options.ops,
        ),
    )
    print(f"wrote {written}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
