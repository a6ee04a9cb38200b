"""Compiling CUDA kernels with NVRTC, which `pip install tensorflow[and-cuda]` brings.

It compiles for exactly the GPU that is there, in seconds. Where there is no NVRTC, nvcc does it.
Results lie in $GANSFORMER_CACHE/ops as NAME.cubin, by source, compute capability and compiler.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from dnnlib.nvidia import INSTALL

KERNELS_ONLY = "-DGANSFORMER_KERNELS_ONLY"
NAMES = ("libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so")


class Nvrtc:
    """The compiler. Raises UserError if there is none."""

    def __init__(self):
        self.path, self.library = _open()
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"NVRTC {major.value}.{minor.value}"

    def compile(self, path: Path, include: Path, capability: str) -> bytes:
        """Return the code (cubin) of a .cu file for one compute capability, such as "90"."""
        program = ctypes.c_void_p()
        self._check(
            "nvrtcCreateProgram", ctypes.byref(program), path.read_bytes(), path.name.encode(),
            0, None, None,
        )  # fmt: skip
        options = [
            f"--gpu-architecture=sm_{capability}",
            "--std=c++17",
            f"-I{include}",
            KERNELS_ONLY,
        ]
        texts = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        try:
            if self.library.nvrtcCompileProgram(program, len(options), texts):
                log = self._read(program, "ProgramLog").decode(errors="replace")
                errors = [line for line in log.splitlines() if "error" in line] or [log[:200]]
                raise UserError(f"{self.version} does not compile {path.name}: {errors[0]}")
            return self._read(program, "CUBIN")
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _check(self, function: str, *arguments) -> None:
        status = getattr(self.library, function)(*arguments)
        if status:
            self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
            text = self.library.nvrtcGetErrorString(status).decode()
            raise UserError(f"NVRTC: {function}: {text}")


class Nvcc:
    """The compiler of the CUDA toolkit. Raises UserError if there is none."""

    def __init__(self):
        homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
        found = [shutil.which(name) for name in ("nvcc", *(f"{h}/bin/nvcc" for h in homes if h))]
        self.path = next((path for path in found if path), None)
        if self.path is None:
            raise UserError(
                f"there is no NVRTC (libnvrtc.so.12) and no nvcc; {INSTALL} brings NVRTC"
            )
        self.version = f"nvcc {self._run('--version').splitlines()[-1]}"

    def compile(self, path: Path, include: Path, capability: str) -> bytes:
        """As Nvrtc.compile."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "kernels.cubin"
            options = ["-cubin", "-O3", "-std=c++17", f"-arch=sm_{capability}", KERNELS_ONLY]
            self._run(*options, f"-I{include}", str(path), "-o", str(out))
            return out.read_bytes()

    def _run(self, *arguments: str) -> str:
        command = [self.path, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if result.returncode:
            errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
            raise UserError(f"nvcc failed: {(errors or [result.stderr[:200]])[0]}")
        return result.stdout


def find_compiler() -> Nvrtc | Nvcc:
    """Return what compiles kernels. Raises UserError if there is nothing."""
    try:
        return Nvrtc()
    except UserError:
        return Nvcc()


def _open() -> tuple[str, ctypes.CDLL]:
    folder = Path(sysconfig.get_paths()["purelib"]) / "nvidia"  # where pip installs it
    candidates = [str(path) for name in NAMES for path in sorted(folder.glob(f"*/lib/{name}"))]
    for candidate in (*candidates, *NAMES):
        try:
            return candidate, ctypes.CDLL(candidate)
        except OSError:
            continue
    raise UserError(f"NVRTC (libnvrtc.so.12) cannot be opened; {INSTALL} brings it")


def compile_cached(
    sources: list[Path], include: Path, capability: str, folder: Path
) -> list[bytes]:
    """Return the code of each source, compiled unless `folder` has it. Raises UserError."""
    compiler = find_compiler()
    headers = b"".join(path.read_bytes() for path in sorted(include.glob("*/*.h")))
    codes = []
    for source in sources:
        marks = (compiler.version.encode(), capability.encode(), source.read_bytes(), headers)
        digest = hashlib.sha256(b"\0".join(marks)).hexdigest()[:20]
        path = folder / f"{source.stem}-sm{capability}-{digest}.cubin"
        try:
            codes.append(path.read_bytes())
        except OSError:
            codes.append(compiler.compile(source, include, capability))
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_file(path, "wb") as file:
                    file.write(codes[-1])
            except OSError:
                pass  # compiled again next time
    return codes
