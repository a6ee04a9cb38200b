#!/usr/bin/env python3
"""Explore a trained generator in the browser: select a component by a click on its region, resample
it, move it along its directions; psi, noise, interpolation, undo, a link to each state."""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib.cli import ArgumentParser, run  # noqa: E402
from dnnlib.numbers import WholeNumber  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="explore.py", description=__doc__)
    parser.add_argument(
        "--model", required=True, help="run, snapshot, official .pkl, or name of a known model"
    )
    parser.add_argument(
        "--w", type=Path, help="begin with a file of generate.py --save-w or project.py"
    )
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="address to listen at; any other than this lets other machines in",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=WholeNumber(0, 65535), default=8000, help="0: any that is free"
    )
    parser.add_network()
    parser.add_argument(
        "--truncation", choices=["component", "official"],
        help="see generate.py; left out: component, for official files official",
    )  # fmt: skip
    parser.add_computing_options()
    return parser


def main(arguments: list[str]) -> None:
    options = make_parser().parse_args(arguments)

    import_tensorflow()
    from dnnlib.computing import ComputingOptions
    from dnnlib.devices import describe_devices
    from gansformer.explorer import Explorer
    from gansformer.explorer_server import ExplorerServer
    from gansformer.sampling import OpenModel, SamplingOptions

    computing = ComputingOptions.of(options)
    with computing.apply().scope():
        print(f"computing on {describe_devices()}")
        sampling = SamplingOptions(
            network=options.network,
            truncation=options.truncation,
            w=options.w,
            dtype=computing.dtype,
        )
        explorer = Explorer(OpenModel(options.model, sampling))
        with ExplorerServer(explorer, options.host, options.port) as server:
            explorer.prepare()
            print(f"open {server.url} (Ctrl-C ends)", flush=True)
            server.serve_forever()


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
