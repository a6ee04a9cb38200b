"""The whole diagnosis of the native ops, as doctor.py prints it."""

import os
import re
from pathlib import Path

import tensorflow as tf

from dnnlib.ops.build import Toolchain, find_nvcc, find_toolchain, first_line_of
from dnnlib.ops.library import cache_folder, checked_ops, implementation


def diagnose() -> list[tuple[str, str]]:
    """Return (topic, finding) pairs; builds the ops if they have not been built."""
    live = implementation()
    toolchain = find_toolchain()
    found = [
        ("ops", live),
        *checked_ops(),
        ("C++ compiler", _compiler(toolchain)),
        ("nvcc", _nvcc()),
        ("CUDA of TensorFlow", _tensorflow_cuda()),
        ("CUDA kernels", _cuda_kernels(toolchain)),
        ("cache", f"{cache_folder()} ({_access(cache_folder())})"),
    ]
    if toolchain.compiler:
        folder = cache_folder() / toolchain.key
        commands = [*toolchain.compile_commands(folder), toolchain.link_command(folder)]
        found += [("command", " ".join(command)) for command in commands]
        found.append(("log", _log(toolchain)))
    return found


def _compiler(toolchain: Toolchain) -> str:
    if toolchain.compiler is None:
        return f"none: {os.environ.get('CXX') or 'g++'} is not in PATH; install g++ or set CXX"
    return f"{toolchain.compiler}: {toolchain.compiler_version}"


def _nvcc() -> str:
    nvcc = find_nvcc()
    if nvcc is None:
        return "none in PATH, CUDA_HOME or /usr/local/cuda (needed for GPUs only)"
    release = first_line_of(nvcc, "-V", "release")
    note = _mismatch(release, tf.sysconfig.get_build_info().get("cuda_version", ""))
    return f"{nvcc}: {release}{note}"


def _mismatch(release: str, built_with: str) -> str:
    match = re.search(r"release (\d+)", release)
    if not match or not built_with or match[1] == built_with.split(".")[0]:
        return ""
    return (
        f" - differs from TensorFlow's CUDA {built_with}: the kernels carry their own runtime, so "
        f"the driver must support CUDA {match[1]}"
    )


def _tensorflow_cuda() -> str:
    info = tf.sysconfig.get_build_info()
    if not info.get("is_cuda_build"):
        return "none: this TensorFlow is built for the CPU only"
    return f"CUDA {info.get('cuda_version')}, cuDNN {info.get('cudnn_version')}"


def _cuda_kernels(toolchain: Toolchain) -> str:
    if toolchain.nvcc:
        return f"for compute capabilities {', '.join(toolchain.capabilities)}"
    return "not built: no GPU is visible and GANSFORMER_CUDA=1 is not set, or there is no nvcc"


def _access(folder: Path) -> str:
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return "writable" if os.access(existing, os.W_OK) and existing.is_dir() else "not writable"


def _log(toolchain: Toolchain) -> str:
    path = cache_folder() / f"{toolchain.key}.log"
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return f"{path} (none: not compiled here)"
    problems = [line for line in lines if "error" in line.lower()][:5]
    return f"{path} ({len(lines)} lines{': ' + ' | '.join(problems) if problems else ', no error'})"
