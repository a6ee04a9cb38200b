"""The whole diagnosis of the native ops, as doctor.py prints it."""

import os
from pathlib import Path

import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.ops.build import Toolchain, find_toolchain
from dnnlib.ops.library import cache_folder, checked_ops, implementation
from dnnlib.ops.nvrtc import find_compiler


def diagnose() -> list[tuple[str, str]]:
    """Return (topic, finding) pairs; builds the ops if they have not been built."""
    live = implementation()
    toolchain = find_toolchain()
    found = [
        ("ops", live),
        *checked_ops(),
        ("C++ compiler", _compiler(toolchain)),
        ("CUDA compiler", _cuda_compiler()),
        ("CUDA of TensorFlow", _tensorflow_cuda()),
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


def _cuda_compiler() -> str:
    try:
        compiler = find_compiler()
    except UserError as error:
        return f"none (for GPUs only): {error}"
    return f"{compiler.version}: {compiler.path}"


def _tensorflow_cuda() -> str:
    info = tf.sysconfig.get_build_info()
    if not info.get("is_cuda_build"):
        return "none: this TensorFlow is built for the CPU only"
    return f"CUDA {info.get('cuda_version')}, cuDNN {info.get('cudnn_version')}"


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
