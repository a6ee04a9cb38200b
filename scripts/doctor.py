#!/usr/bin/env python3
"""Print what is installed, the devices, and which implementation of the ops is used and why."""

import importlib.metadata
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until run(): Ctrl-C ends imports without a word
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dnnlib import cli  # noqa: E402
from dnnlib.errors import UserError  # noqa: E402
from dnnlib.quiet import import_tensorflow  # noqa: E402

_PACKAGES = ("numpy", "scipy", "tensorflow", "keras", "Pillow", "PyYAML", "tqdm")


def main(arguments: Sequence[str]) -> None:
    """Print the diagnosis; an error status if TensorFlow is missing."""
    parser = cli.ArgumentParser(prog="doctor.py", description=__doc__)
    parser.parse_args(arguments)
    _print_rows([("python", f"{platform.python_version()} ({sys.executable})")])
    _print_rows([("system", f"{platform.platform()}, {_processor()}")])
    _print_rows([(name, _version(name)) for name in _PACKAGES])
    if _version("tensorflow") == "not installed":
        raise UserError("TensorFlow is not installed; pip install tensorflow")
    _print_rows(_devices())
    _print_rows(_precisions())
    from dnnlib.ops.diagnosis import diagnose

    _print_rows(diagnose())


def _print_rows(rows: Sequence[tuple[str, str]]) -> None:
    for topic, finding in rows:
        print(f"{topic:<20} {finding}", flush=True)


def _precisions() -> list[tuple[str, str]]:
    from dnnlib.computing import PRECISIONS, find_drawback

    drawbacks = {name: find_drawback(name) for name in PRECISIONS if name != "float32"}
    return [
        ("precision", f"{name}: {drawback or 'this device has instructions for it'}")
        for name, drawback in drawbacks.items()
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]} x {len(names)}" if names else platform.machine()


def _devices() -> list[tuple[str, str]]:
    import_tensorflow()
    import tensorflow as tf

    from dnnlib.devices import why_no_gpu

    rows = []
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device)
        about = ", ".join(f"{name} {value}" for name, value in details.items())
        rows.append(("device", f"{device.device_type} {device.name} {about}".strip()))
    if not tf.config.list_physical_devices("GPU"):
        rows.append(("GPU", f"none: {why_no_gpu()}"))
    return rows


def entry_point() -> int:
    """Entry point of the installed command."""
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry_point())
