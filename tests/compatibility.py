#!/usr/bin/env python3
"""Try the wheel in fresh environments of several Pythons and TensorFlows; write what was run.

    tests/compatibility.py --wheel dist/*.whl \\
        --python python3.10=2.18 python3.13=2.21

Each environment also gets Hugging Face's `datasets`, which must go on working beside ours. Results
are added to docs/compatibility.md, one row an environment; rows of others stay.
"""

import argparse
import datetime
import re
import subprocess
import tempfile
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
BESIDE = """
import datasets, gansformer, metrics
table = datasets.Dataset.from_dict({"a": [1, 2]})
assert len(table) == 2 and "gansformer" not in datasets.__file__
assert gansformer.load("cartoonset64-duplex-cpu").Gs is not None
"""
TRAIN = (
    "gansformer-train --config cartoonset64-duplex-cpu --data data --run run --devices cpu "
    "--ops reference --set training.batch_size=8 --set training.batch_per_device=8"
)
STEPS = {
    "import": ["python -c 'import gansformer, metrics; print(gansformer.__version__)'"],
    "generate": [
        "gansformer-generate --model cartoonset64-duplex-cpu --out images --num 2 --ops reference",
        "test -s images/seed000001.png",
    ],
    "train": [
        "gansformer-prepare-data demo --out data --resolution 64 --max-images 64",
        f"{TRAIN} --kimg 0.008",
    ],
    "resume": [f"{TRAIN} --kimg 0.016 --resume auto"],
    "Hugging Face datasets": [f"python -c '{BESIDE}'"],
    "native ops": [
        "gansformer-generate --model cartoonset64-duplex-cpu --out fast --num 2 --ops native",
        "test -s fast/seed000001.png",
    ],
    "export": [
        "gansformer-export --model cartoonset64-duplex-cpu --format tflite --out exported",
        "test -s exported/generator.tflite",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, type=Path)
    parser.add_argument(
        "--python", nargs="+", required=True, help="PYTHON=TENSORFLOW, such as 2.18"
    )
    options = parser.parse_args()
    for pair in options.python:
        python, _, version = pair.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            write_row(try_environment(Path(folder), python, version, options.wheel.resolve()))


def try_environment(folder: Path, python: str, version: str, wheel: Path) -> dict[str, str]:
    """Return a row: the versions, and for each step "yes" or how it failed."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    activate = f"source {folder}/venv/bin/activate"
    environment = f"{activate} && cd {folder} && export GANSFORMER_CACHE={folder}/cache"
    install = f"pip install --quiet {wheel} 'tensorflow=={version}.*' datasets"
    row = dict.fromkeys(STEPS, "-")
    problem = run(f"{environment} && {install}")
    if problem:
        row["import"] = f"not installed: {problem}"
    else:
        for name, commands in STEPS.items():
            problem = run(" && ".join([environment, *commands]))
            row[name] = f"no: {problem}" if problem else "yes"
            if problem:
                print(f"{python} TensorFlow {version}: {name}: {problem}")
    names = "python --version; pip list 2>/dev/null | grep -iE '^(tensorflow|numpy|datasets) '"
    versions = subprocess.run(
        ["bash", "-c", f"{environment} && {names}"], capture_output=True, text=True
    ).stdout
    return {"versions": " ".join(versions.split()), "date": f"{datetime.date.today()}", **row}


def run(command: str) -> str:
    """Run a shell command; return "" or the last line that it wrote when it failed."""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"status {done.returncode}")


def write_row(row: dict[str, str]) -> None:
    """Add a row to the page, in place of one of the same versions."""
    text = PAGE.read_text("utf-8")
    line = "| " + " | ".join(row.values()) + " |"
    same = re.escape(f"| {row['versions']} |")
    text = re.sub(rf"^{same}.*\n", "", text, flags=re.MULTILINE)
    PAGE.write_text(text.rstrip("\n") + f"\n{line}\n", "utf-8")
    print(line)


if __name__ == "__main__":
    main()
