#!/usr/bin/env python3
"""Run the commands of docs/gallery.md, and take the images that it shows into docs/gallery/.

    python docs/gallery/make.py [--run RUN]     # RUN: in place of runs/duplex-cpu, for the progress

Commands whose model is not there are left out. In one process, so that TensorFlow loads once.
"""

import argparse
import glob
import importlib
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help=f"a run, in place of {EXAMPLE_RUN}")
    parser.add_argument("--only", default="", help="commands that contain this text")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shown = re.findall(r"\(gallery/([\w.-]+)\)", text)
    run = None if options.run is None else options.run.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.symlink(ROOT / "datasets", "datasets")
        if run is not None:
            Path(EXAMPLE_RUN).parent.mkdir()
            os.symlink(run, EXAMPLE_RUN)
        for line in "".join(blocks).splitlines():
            if options.only not in line or (EXAMPLE_RUN in line and run is None):
                continue
            print(f"$ {line}", flush=True)
            execute(line)
            keep([*shown, "projection.json"])


def keep(names: list[str]) -> None:
    """Take what is there of these files, and what describes them, into docs/gallery/."""
    for name in names:
        for path in (Path("gallery") / name, Path("gallery") / f"{name}.json"):
            if path.exists():
                shutil.copy(path, ROOT / "docs" / "gallery" / path.name)


def execute(line: str) -> None:
    """Run one line as a shell does; a script of ours in this process."""
    program, *arguments = shlex.split(line)
    if not program.startswith("scripts/"):
        subprocess.run(line, shell=True, check=True)
        return
    script = importlib.import_module(program.removesuffix(".py").replace("/", "."))
    script.main([found for text in arguments for found in sorted(glob.glob(text)) or [text]])


if __name__ == "__main__":
    main()
