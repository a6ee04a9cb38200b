#!/usr/bin/env python3
"""Turn images into a data set that train.py reads: TFRecord files and a manifest.

  prepare_data.py demo --out data/demo                         the embedded images
  prepare_data.py my-images/ --out data/mine --resolution 128
  prepare_data.py cartoonset10k.tgz --out data/cartoonset --labels hair_color,glasses

An interrupted run continues when the same command is given again. Divided among several jobs, with
the same result:

  prepare_data.py my-images/ --part 1/8 --out parts/1     and so on to 8/8
  prepare_data.py merge parts/* --out data/mine

And to look at data sets:

  prepare_data.py inspect DIR [--grid FILE]       facts, colours, labels, a grid of images
  prepare_data.py verify DIR                      checksums, and whether all records decode
  prepare_data.py extract DIR --out FOLDER        back to PNG files
  prepare_data.py compare DIR DIR                 differences image by image
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word

import argparse
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datasets.catalogue import CATALOGUE, fetch_data_set
from datasets.manifest import ENCODINGS
from datasets.parts import merge, prepare_part
from datasets.preparation import Order, Preparation
from datasets.preparing import Prepared, prepare
from datasets.shaping import CROPS, FILTERS
from datasets.sources.recognition import KINDS
from datasets.tools.compare import compare
from datasets.tools.extract import extract
from datasets.tools.inspect import histogram, inspect
from datasets.tools.verify import verify
from datasets.worker_pool import MOST_WORKERS
from dnnlib.cli import ArgumentParser, run
from dnnlib.image_files import CHANNELS, MAX_PIXELS
from dnnlib.numbers import FiniteNumber, WholeNumber, positive_int


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(
        prog="prepare_data.py",
        description=__doc__.split("\n")[0],
        epilog="also: prepare_data.py merge|inspect|verify|extract|compare DIR (each with --help)",
    )
    parser.add_argument(
        "source",
        help="a folder (with all folders inside) or zip/tar of images; LMDB, HDF5, npy, npz or "
        f"record files; tfds:NAME; or by name: demo, {', '.join(CATALOGUE)}",
    )
    parser.add_argument("--out", type=Path, required=True, help="directory of the data set")
    parser.add_argument("--name", help="name of the data set; default: after the source")
    parser.add_argument(
        "--downloads", type=Path, help="where downloads are kept; default: beside --out"
    )
    parser.add_argument(
        "--from-file", type=Path, help="the file of a named data set, fetched by hand"
    )
    parser.add_argument(
        "--as",
        dest="read_as",
        choices=KINDS,
        help="what to read of a SOURCE that holds several kinds of data; default: what it holds",
    )
    parser.add_argument(
        "--check-content",
        action="store_true",
        help="where the data set is there already, read all images to see whether they changed; "
        "default: only where sizes or times of files did",
    )
    parser.add_argument(
        "--part",
        type=_part,
        metavar="I/N",
        help="prepare only part I (from 1) of N, for prepare_data.py merge",
    )
    _add_shape_options(parser.add_argument_group("shape of the images"))
    _add_choice_options(parser.add_argument_group("choice of images and labels"))
    _add_file_options(parser.add_argument_group("files written"))
    return parser


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count <= MOST_PARTS:
        raise argparse.ArgumentTypeError(
            f"{text}: use I/N, part I of N, from 1/N to N/N; N is at most {MOST_PARTS}"
        )
    return number, count


def _add_shape_options(shape) -> None:
    shape.add_argument(
        "--resolution", type=WholeNumber(), default=64, help="width and height, power of two"
    )
    shape.add_argument(
        "--crop",
        choices=CROPS,
        help="square: centre square; ratio: centre part of height/width --ratio, then black bands; "
        "pad: black bands; stretch. Default: ratio if --ratio is given, else square",
    )
    shape.add_argument(
        "--ratio", type=FiniteNumber(0.05, 20), help="height / width of the part that is kept"
    )
    shape.add_argument("--filter", choices=FILTERS, default="lanczos", help="resizing filter")
    shape.add_argument(
        "--channels",
        choices=list(CHANNELS),
        default="rgb",
        help="colour, grey, or colour with transparency",
    )
    shape.add_argument(
        "--alpha", default="drop", help="transparency: drop (as officially) or composite:COLOUR"
    )


def _add_choice_options(choice) -> None:
    choice.add_argument("--max-images", type=positive_int, help="use at most so many images")
    choice.add_argument(
        "--max-pixels",
        type=positive_int,
        default=MAX_PIXELS,
        help="leave out images of more pixels (width times height)",
    )
    choice.add_argument(
        "--seed",
        type=WholeNumber(0, 2**32 - 1),
        help="take the images in this random order, not sorted by name",
    )
    choice.add_argument(
        "--labels",
        help="folders; a table FILE[:COLUMN,COLUMN] (csv, tsv, json, jsonl); attributes of Cartoon "
        "Set (names with commas between, or: attributes for all); stored (what the source brings)",
    )
    choice.add_argument("--strict", action="store_true", help="fail at the first unusable image")


def _add_file_options(files) -> None:
    files.add_argument(
        "--shards", type=WholeNumber(1, 9999), default=4, help="number of record files"
    )
    files.add_argument(
        "--encoding", choices=ENCODINGS, default="raw", help="png: smaller, slower to read"
    )
    files.add_argument(
        "--all-resolutions", action="store_true", help="the official form: down to 4x4 as well"
    )
    files.add_argument(
        "--label-file", action="store_true", help="write the official NAME-rxx.labels as well"
    )
    files.add_argument(
        "--workers", type=WholeNumber(1, MOST_WORKERS), help="processes; default: one a core"
    )


def make_tool_parser(tool: str) -> ArgumentParser:
    """Return the parser of a tool that looks at data sets."""
    parser = ArgumentParser(prog=f"prepare_data.py {tool}", description=TOOLS[tool].__doc__)
    if tool == "merge":
        parser.add_argument(
            "directories", type=Path, nargs="+", metavar="DIR", help="directories of all parts"
        )
        parser.add_argument("--out", type=Path, required=True, help="directory of the data set")
        return parser
    parser.add_argument("directory", type=Path, help="directory of a data set")
    if tool == "compare":
        parser.add_argument("other", type=Path, help="directory of another data set")
    if tool == "extract":
        parser.add_argument("--out", type=Path, required=True, help="folder for the images")
        parser.add_argument("--max-images", type=positive_int, help="write at most so many")
    if tool == "inspect":
        parser.add_argument("--grid", type=Path, help="write a grid of images here (png)")
        parser.add_argument("--sheet", type=Path, help=argparse.SUPPRESS)
    if tool != "verify":
        parser.add_argument(
            "--resolution", type=positive_int, help="which one; default: the largest"
        )
    return parser


def use_tool(tool: str, arguments: list[str]) -> None:
    """Merge parts, or look at data sets."""
    options = make_tool_parser(tool).parse_args(arguments)
    if tool == "merge":
        print_summary(merge(options.directories, options.out))
    elif tool == "inspect":
        if options.sheet is not None:
            print("--sheet is now called --grid", file=sys.stderr)
        grid = options.grid or options.sheet
        print(inspect(options.directory, resolution=options.resolution, grid=grid))
    elif tool == "verify":
        print(verify(options.directory))
    elif tool == "compare":
        print(compare(options.directory, options.other, resolution=options.resolution))
    else:
        found = extract(
            options.directory,
            options.out,
            resolution=options.resolution,
            max_images=options.max_images,
        )
        print(found)


TOOLS = {
    "merge": merge,
    "inspect": inspect,
    "verify": verify,
    "extract": extract,
    "compare": compare,
}
MOST_PARTS = 500  # their files are open together


def main(arguments: list[str]) -> None:
    """Prepare a data set, or look at one."""
    if arguments and arguments[0] in TOOLS:
        use_tool(arguments[0], arguments[1:])
        return
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.part:
        parser.refuse_without_effect(options, ["check_content"], "with --part")
    source = options.source
    if source in CATALOGUE:
        folder = options.downloads or options.out.parent / "downloads"
        source = str(fetch_data_set(source, folder, from_file=options.from_file))
        if options.crop is None and options.ratio is None:
            options.ratio = CATALOGUE[options.source].ratio
        options.name = options.name or options.source
    preparation = Preparation(
        resolution=options.resolution,
        channels=options.channels,
        crop=options.crop or ("ratio" if options.ratio else "square"),
        ratio=options.ratio,
        filter=options.filter,
        alpha=options.alpha,
        encoding=options.encoding,
        all_resolutions=options.all_resolutions,
        max_pixels=options.max_pixels,
    )
    order = Order(
        name=options.name,
        shards=options.shards,
        max_images=options.max_images,
        seed=options.seed,
        labels=options.labels,
        label_file=options.label_file,
    )
    what = source, options.out, preparation, order
    how = {name: getattr(options, name) for name in ("workers", "strict", "read_as")}
    if options.part:
        number, count = options.part
        images = prepare_part(*what, number=number, count=count, **how)
        print(f"part {number} of {count}: {images:,} images of the source are in {options.out}")
        return
    print_summary(prepare(*what, **how, check_content=options.check_content))


def print_summary(prepared: Prepared) -> None:
    """Say what was written, where, and what was left out."""
    manifest = prepared.manifest
    done = "already there" if prepared.was_there else "prepared"
    print(
        f"{done}: {manifest.count:,} images of {manifest.resolution}x{manifest.resolution} "
        f"({manifest.encoding}, {len(manifest.label_names)} label values) in {prepared.directory}"
    )
    if manifest.label_names and not prepared.was_there:
        print("\n".join(histogram(manifest.label_names, manifest.preparation["label_sums"])))
    for remark, (count, example) in manifest.source.get("remarks", {}).items():
        print(f"{count:,} images, such as {example}: {remark}")
    for line in manifest.source.get("left_aside", []):
        print(f"left aside: {line}")
    for name, reason in prepared.unusable:
        print(f"left aside: {name}: {reason}")
    skipped = manifest.source["skipped_count"]
    if skipped:
        print(f"skipped {skipped:,} files that could not be used:")
        for name, reason in manifest.source["skipped"][:10]:
            print(f"  {name}: {reason}")
        if skipped > 10:
            print(f"  and {skipped - 10:,} more, listed in {prepared.directory / 'dataset.json'}")


def entry_point() -> None:
    """Run as an installed command."""
    sys.exit(run(main))


if __name__ == "__main__":
    entry_point()
