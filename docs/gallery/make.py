#!/usr/bin/env python3
"""Run the commands of docs/gallery.md; take over the images that it shows and what they print.

    python docs/gallery/make.py [--run RUN]     # RUN: in place of runs/duplex-cpu, for the progress

Images go to docs/gallery/, and that of the README to docs/shipped.png. A block of text below
commands becomes what the last of them prints. Commands whose run is not there are left out. In one
process, so that TensorFlow loads once.
"""

import argparse
import contextlib
import glob
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "gallery.md"
EXAMPLE_RUN = "runs/duplex-cpu"
FOLDER = ROOT / "docs" / "gallery"
SHIPPED = ROOT / "docs" / "shipped.png"  # images/grid.png
PARTS = re.compile(r"```sh\n(?P<commands>.*?)```(?:\n\n```text\n(?P<printed>.*?)```)?", re.DOTALL)
UNINTERESTING = ("computing on ", "wrote ")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help=f"a run, in place of {EXAMPLE_RUN}")
    parser.add_argument("--only", default="", help="blocks with a command that contains this text")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(ROOT))
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"\(gallery/([\w.-]+)\)", text)
    run = None if options.run is None else options.run.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.symlink(ROOT / "datasets", "datasets")
        if run is not None:
            Path(EXAMPLE_RUN).parent.mkdir()
            os.symlink(run, EXAMPLE_RUN)
        for part in PARTS.finditer(text):
            lines = part["commands"].splitlines()
            if not any(options.only in line for line in lines):
                continue
            if EXAMPLE_RUN in part["commands"] and run is None:
                continue
            for line in lines:
                print(f"$ {line}", flush=True)
                printed = execute(line)
            keep([*shown, "projection.json"])
            if part["printed"] is not None:
                replace_printed(part["commands"], printed)


def keep(names: list[str]) -> None:
    """Take what is there of these files, and what describes them, into docs/gallery/."""
    for name in names:
        for path in (Path("gallery") / name, Path("gallery") / f"{name}.json"):
            if path.exists():
                shutil.copy(path, FOLDER / path.name)
    if Path("images/grid.png").exists():
        shutil.copy("images/grid.png", SHIPPED)


def replace_printed(commands: str, printed: str) -> None:
    """Put what was printed into the page's block of text below these commands."""
    lines = [line for line in printed.splitlines() if not line.startswith(UNINTERESTING)]
    block = "".join(f"{line}\n" for line in lines)

    def renew(part: re.Match) -> str:
        if part["commands"] != commands:
            return part[0]
        return f"```sh\n{commands}```\n\n```text\n{block}```"

    PAGE.write_text(PARTS.sub(renew, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def execute(line: str) -> str:
    """Run one line as a shell does, a script of ours in this process; return what that prints."""
    program, *arguments = shlex.split(line)
    if not program.startswith("scripts/"):
        subprocess.run(line, shell=True, check=True)
        return ""
    script = importlib.import_module(program.removesuffix(".py").replace("/", "."))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        script.main([found for text in arguments for found in sorted(glob.glob(text)) or [text]])
    print(printed.getvalue(), end="", flush=True)
    return printed.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
