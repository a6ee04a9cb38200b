"""NVIDIA's driver and CUDA's libraries on this machine, and why TensorFlow may find no GPU.

None of it needs TensorFlow, and none of it occupies a GPU.
"""

import ctypes
import os
import re
import subprocess
import sysconfig
from pathlib import Path

LIBRARIES = (
    "libcudart",
    "libcublas",
    "libcublasLt",
    "libcufft",
    "libcusolver",
    "libcusparse",
    "libcudnn",
    "libnvidia-ml",
)
INSTALL = "pip install 'tensorflow[and-cuda]'"
DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")
WSL_FOLDER = Path("/usr/lib/wsl/lib")


def has_driver() -> bool:
    """Return whether NVIDIA's driver can be used."""
    return _opens("libcuda.so.1") or _opens(str(WSL_FOLDER / "libcuda.so.1"))


def driver_version() -> str:
    """Return the version of NVIDIA's driver as Linux reports it, or an empty string."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)?", first)
    return found[0] if found else ""


def find_gpus() -> list[str]:
    """Return the GPUs that programs see, as CUDA_VISIBLE_DEVICES names them.

    Asks neither TensorFlow nor CUDA, which would occupy them. Under WSL2 the driver has no folder
    in /proc; nvidia-smi lists them.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    if DRIVER_FOLDER.is_dir():
        return [str(number) for number, _ in enumerate(DRIVER_FOLDER.iterdir())]
    return re.findall(r"^GPU (\d+):", _nvidia_smi(), re.MULTILINE)


def _nvidia_smi() -> str:
    """Return what `nvidia-smi -L` prints, or nothing."""
    for program in ("nvidia-smi", str(WSL_FOLDER / "nvidia-smi")):
        try:
            command = [program, "-L"]
            return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
    return ""


def missing_libraries(versions: dict[str, str]) -> list[str]:
    """Return which of CUDA's libraries cannot be opened, where TensorFlow looks for them.

    versions: the major version of each, such as {"libcudart": "12"}, see library_versions.
    """
    return [name for name, version in versions.items() if not _found(name, version)]


def library_versions(cuda: str, cudnn: str) -> dict[str, str]:
    """Return the major versions of the libraries that belong to a version of CUDA and of cuDNN.

    cuda, cudnn: as tf.sysconfig.get_build_info() says them, "12.5.1" and "9". Some libraries have
    numbers of their own.
    """
    major = int(cuda.split(".")[0])
    others = {"libcufft": major - 1, "libcusolver": major - 1, "libcusparse": 12, "libnvidia-ml": 1}
    others["libcudnn"] = cudnn.split(".")[0]
    return {name: str(others.get(name, major)) for name in LIBRARIES}


def why_no_gpu(versions: dict[str, str]) -> str:
    """Return in one line why TensorFlow finds no GPU here, and what to do.

    It is one of: no driver; hidden by CUDA_VISIBLE_DEVICES; libraries are missing.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not has_driver():
        return "there is no NVIDIA driver here (libcuda.so.1 cannot be opened)"
    if hidden is not None and not find_gpus():
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides the GPUs; unset it"
    missing = missing_libraries(versions)
    if missing:
        return (
            "there is an NVIDIA driver, but TensorFlow cannot open "
            f"{', '.join(f'{name}.so.{versions[name]}' for name in missing)}; {INSTALL} brings them"
        )
    if hidden is not None:
        return f"CUDA_VISIBLE_DEVICES={hidden!r} may name GPUs that are not there; unset it"
    return (
        "there is an NVIDIA driver and all of CUDA's libraries, but no GPU; see what nvidia-smi "
        "says, and TensorFlow with TF_CPP_MIN_LOG_LEVEL=0"
    )


def _found(name: str, version: str) -> bool:
    if _opens(f"{name}.so.{version}"):
        return True
    # pip installs them beside TensorFlow, which finds them there.
    return any(_opens(str(path)) for path in _pip_folder().glob(f"*/lib/{name}.so.{version}"))


def _pip_folder() -> Path:
    return Path(sysconfig.get_paths()["purelib"]) / "nvidia"


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
