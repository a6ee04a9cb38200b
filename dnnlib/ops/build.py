"""Compiling the native ops: compilers, flags, the exact commands, and running them.

src/ has one folder for each op, and common/. How a file is compiled depends on the end of its name:
NAME_op.cc with TensorFlow, NAME_cpu.cc (kernels) for this processor, and NAME_cuda.cu, for machines
with a GPU, twice: here what launches its kernels, and the kernels by NVRTC (nvrtc.py).
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import atomic_directory, atomic_file

SOURCE = Path(__file__).parent / "src"
LIBRARY_NAME = "libgansformer_ops.so"
_HOST_FLAGS = ("-std=c++17", "-fPIC")
_KERNEL_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
_COMPILE_TIMEOUT_S = 900
_COMPILERS = 8  # at most, side by side: one needs up to a gigabyte of memory


@dataclass(frozen=True)
class Toolchain:
    """The compiler that was found, and whether the ops are to run on GPUs, too."""

    compiler: str | None
    cuda: bool = False

    @cached_property
    def identity(self) -> dict[str, str]:
        """All that the result depends on, apart from the C++ compiler."""
        import tensorflow as tf

        return {
            "source": _digest_of_sources(),
            "tensorflow": tf.__version__,
            "cpu": _cpu_digest(),
            "flags": " ".join([*_HOST_FLAGS, *_KERNEL_FLAGS, *_vector_flags()]),
            "cuda": "yes" if self.cuda else "",
        }

    @cached_property
    def compiler_version(self) -> str:
        """The first line of `g++ --version`, or an empty string where there is no compiler."""
        return first_line_of(self.compiler, "--version", "") if self.compiler else ""

    @property
    def key(self) -> str:
        """The name of the cache folder for this combination."""
        text = repr(sorted(self.identity.items())) + self.compiler_version
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def compile_commands(self, folder: Path) -> list[list[str]]:
        """Commands that make the object files in `folder`; they may run side by side."""
        import tensorflow as tf

        of_tensorflow = [f for f in tf.sysconfig.get_compile_flags() if "std=" not in f]
        cuda_mark = ["-DGANSFORMER_CUDA"] if self.cuda else []
        flags = {
            "_op.cc": [*of_tensorflow, "-O2", "-w", *cuda_mark],
            "_cpu.cc": [*_KERNEL_FLAGS, *_vector_flags()],
        }
        commands = [
            [self.compiler, "-c", *_HOST_FLAGS, f"-I{SOURCE}", *options, *_from_to(path, folder)]
            for end, options in flags.items()
            for path in find_sources(end)
        ]
        if self.cuda:
            options = ["-x", "c++", "-O2", "-w", f"-I{SOURCE}"]
            commands += [
                [self.compiler, "-c", *_HOST_FLAGS, *options, *_from_to(path, folder)]
                for path in find_sources("_cuda.cu")
            ]
        return commands

    def link_command(self, folder: Path) -> list[str]:
        """The command that makes the library in `folder` out of the object files there."""
        import tensorflow as tf

        objects = [command[-1] for command in self.compile_commands(folder)]
        library = str(folder / LIBRARY_NAME)
        return [self.compiler, "-shared", *objects, "-o", library, *tf.sysconfig.get_link_flags()]


def find_sources(end: str) -> list[Path]:
    """Return the source files whose names end in `end`."""
    return sorted(SOURCE.glob(f"*/*{end}"))


def _from_to(path: Path, folder: Path) -> list[str]:
    return [str(path), "-o", str(folder / f"{path.stem}.o")]


def require_compiler(toolchain: Toolchain) -> None:
    """Raise UserError if there is no C++ compiler."""
    if toolchain.compiler is None:
        raise UserError("no C++ compiler in PATH; install g++ or set CXX")


def find_toolchain(*, want_cuda: bool | None = None) -> Toolchain:
    """Look for the compiler.

    The ops run on GPUs where TensorFlow sees one, and where `want_cuda` is true.
    """
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    return Toolchain(compiler, bool(visible_capabilities()) if want_cuda is None else want_cuda)


def visible_capabilities() -> list[str]:
    """The compute capabilities of the GPUs that TensorFlow may use, as "80", ascending."""
    import tensorflow as tf

    found = set()
    for device in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        major, minor = details.get("compute_capability", (0, 0))
        found.add(f"{major}{minor}")
    return sorted(found, key=int)


def first_line_of(program: str, option: str, containing: str) -> str:
    """Return the first line of `program option` with `containing` in it."""
    try:
        result = subprocess.run(
            [program, option], capture_output=True, text=True, check=False, timeout=60
        )
    except OSError as error:
        raise UserError(f"{program} cannot be run: {error.strerror}") from error
    lines = [line.strip() for line in result.stdout.splitlines() if containing in line]
    return lines[0] if lines else ""


def read_cpuinfo() -> str:
    """Return what Linux reports about the processor, elsewhere nothing."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _vector_flags() -> list[str]:
    return ["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCE.glob("*/*")):
        digest.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _cpu_digest() -> str:
    """Code for one processor may crash on another that shares the home directory."""
    marks = ("flags", "Features", "model name", "CPU part")
    lines = read_cpuinfo().splitlines()
    text = "\n".join(sorted({line for line in lines if line.startswith(marks)}))
    return platform.machine() + hashlib.sha256(text.encode()).hexdigest()[:16]


def build(toolchain: Toolchain, folder: Path) -> None:
    """Compile the library into `folder`, which appears only once it is complete; write a log."""
    print("compiling the native ops (once; 10 to 60 s) ...", file=sys.stderr, flush=True)
    log: list[str] = []
    try:
        with atomic_directory(folder) as temporary:
            _compile(toolchain, temporary, log)
            digest = hashlib.sha256((temporary / LIBRARY_NAME).read_bytes()).hexdigest()
            about = {
                "identity": toolchain.identity,
                "compiler": toolchain.compiler_version,
                "sha256": digest,
            }
            (temporary / "build.json").write_text(json.dumps(about, indent=1))
            for path in temporary.glob("*.o"):
                path.unlink()
    finally:
        with atomic_file(folder.with_suffix(".log"), "w") as file:
            file.write("\n".join(log) + "\n")


def _compile(toolchain: Toolchain, folder: Path, log: list[str]) -> None:
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _COMPILERS)) as pool:
        steps = [pool.submit(_run, command) for command in toolchain.compile_commands(folder)]
    results = [step.result() for step in steps]
    if all(status == 0 for status, _ in results):
        results.append(_run(toolchain.link_command(folder)))
    log += [text for _, text in results]
    failed = [text for status, text in results if status != 0]
    if failed:
        errors = [line for text in failed for line in text.splitlines() if "error" in line.lower()]
        reason = (errors or failed[0].splitlines()[-1:])[0].strip()
        raise UserError(
            f"compiling failed: {reason[:200]} (log: {folder.parent / toolchain.key}.log)"
        )


def _run(command: list[str]) -> tuple[int, str]:
    try:
        result = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=_COMPILE_TIMEOUT_S, errors="replace",
        )  # fmt: skip
        status, output = result.returncode, result.stdout
    except subprocess.TimeoutExpired:
        status, output = 1, f"error: took more than {_COMPILE_TIMEOUT_S} s"
    except OSError as error:
        status, output = 1, f"error: {error}"
    return status, f"$ {' '.join(command)}\n{output}exit status {status}\n"
