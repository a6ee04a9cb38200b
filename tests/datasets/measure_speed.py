"""How fast prepare_data.py is, as a part of the rate at which the pictures can be decoded at all.

    python -m tests.datasets.measure_speed PICTURES.zip [RESOLUTION [COUNT]]

Both rates are measured in turn, on all cores: Pillow decoding and resizing and nothing else, in
processes that share the list of names; and the whole script, from its start to its end. Where other
programs run too, compare the processor's time rather than the clock's.
"""

import io
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLOCKS = ("by the clock", "of processor time")
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_data.py"


def decode_and_resize(archive: str, names: Sequence[str], resolution: int) -> None:
    """What nobody can do without."""
    with zipfile.ZipFile(archive) as file:
        for name in names:
            picture = Image.open(io.BytesIO(file.read(name))).convert("RGB")
            picture.resize((resolution, resolution), Image.Resampling.LANCZOS).tobytes()


def clocks() -> np.ndarray:
    """Return seconds now, and seconds of processor time of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.monotonic(), used.ru_utime + used.ru_stime])


def measure_decoding(archive: str, names: Sequence[str], resolution: int, cores: int) -> np.ndarray:
    """Return pictures per second, and per second of processor time."""
    started = clocks()
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=decode_and_resize, args=(archive, names[n::cores], resolution))
        for n in range(cores)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return len(names) / (clocks() - started)


def measure_preparing(archive: str, count: int, resolution: int, cores: int) -> np.ndarray:
    """Return pictures per second, and per second of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, SCRIPT, archive, "--out", f"{folder}/set", "--workers", cores]
        command += ["--resolution", resolution, "--max-images", count]
        started = clocks()
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
        return count / (clocks() - started)


def main(archive: str, resolution: str = "64", count: str = "10000") -> None:
    """Measure each rate three times, in turn, and print the best of each and their ratio."""
    cores = len(os.sched_getaffinity(0))
    with zipfile.ZipFile(archive) as file:
        pictures = (".png", ".jpg", ".jpeg", ".webp")
        names = sorted(n for n in file.namelist() if n.lower().endswith(pictures))[: int(count)]
    decoding, preparing = [], []
    for _ in range(3):
        decoding.append(measure_decoding(archive, names, int(resolution), cores))
        preparing.append(measure_preparing(archive, len(names), int(resolution), cores))
    print(f"{len(names)} pictures to {resolution}, {cores} cores, pictures per second:")
    for what, *rates in zip(CLOCKS, np.max(decoding, 0), np.max(preparing, 0), strict=True):
        ratio = rates[1] / rates[0]
        print(f"{what}: decoding {rates[0]:.0f}, prepare_data.py {rates[1]:.0f}, ratio {ratio:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
