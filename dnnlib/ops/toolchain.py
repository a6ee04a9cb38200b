"""What the native ops are compiled with: compilers, flags and the exact commands."""

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dnnlib.errors import UserError

SOURCE = Path(__file__).parent / "src"
LIBRARY_NAME = "libgansformer_ops.so"
CAPABILITIES = ("70", "75", "80", "86", "89", "90")  # nvcc 13 has dropped 70
TENSORFLOW_SOURCES = (
    "tensorflow_ops",
    "tensorflow_cpu_ops",
    "tensorflow_strided_ops",
    "tensorflow_attention_ops",
    "tensorflow_sample_ops",
)
KERNEL_SOURCES = (
    "upfirdn2d_cpu",
    "bias_act_cpu",
    "scale_channels_cpu",
    "conv3x3_cpu",
    "transposed_conv3x3_cpu",
    "strided_conv3x3_gradient_cpu",
    "attention_probabilities_cpu",
    "attention_gain_cpu",
    "sample_conv_cpu",
)
CUDA_SOURCES = ("upfirdn2d_cuda", "bias_act_cuda")
_KERNEL_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")


@dataclass(frozen=True)
class Toolchain:
    """The compilers that were found and what they are to make.

    `nvcc` is None where no CUDA kernels are wanted or possible; `capabilities` are the GPU
    generations to compile for.
    """

    compiler: str | None
    nvcc: str | None
    capabilities: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> dict[str, str]:
        """All that the result depends on, apart from the C++ compiler."""
        import tensorflow as tf

        return {
            "source": _digest_of_sources(),
            "tensorflow": tf.__version__,
            "cpu": _cpu_digest(),
            "flags": " ".join([*self._host_flags(), *_KERNEL_FLAGS, *_vector_flags()]),
            "cuda": f"{first_line_of(self.nvcc, '-V', 'release')} {self.capabilities}"
            if self.nvcc
            else "",
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
        host = [self.compiler, "-c", *self._host_flags(), f"-I{SOURCE}"]
        cuda_mark = ["-DGANSFORMER_CUDA"] if self.nvcc else []
        flags = {name: [*self._tensorflow_flags(), "-O2", "-w", *cuda_mark]
                 for name in TENSORFLOW_SOURCES}  # fmt: skip
        flags |= {name: [*_KERNEL_FLAGS, *_vector_flags()] for name in KERNEL_SOURCES}
        commands = [
            [*host, *options, str(SOURCE / f"{name}.cc"), "-o", str(folder / f"{name}.o")]
            for name, options in flags.items()
        ]
        if self.nvcc:
            commands += [cuda_command(self, name, folder) for name in CUDA_SOURCES]
        return commands

    def link_command(self, folder: Path) -> list[str]:
        """The command that makes the library in `folder` out of the object files there."""
        import tensorflow as tf

        names = [f"{name}.o" for name in (*TENSORFLOW_SOURCES, *KERNEL_SOURCES)]
        linker, flags = self.compiler, tf.sysconfig.get_link_flags()
        if self.nvcc:  # it knows where its runtime library is, and -l:NAME only through -Xlinker
            names += [f"{name}.o" for name in CUDA_SOURCES]
            linker = self.nvcc
            flags = [part for flag in flags for part in ("-Xlinker", flag)]
        objects = [str(folder / name) for name in names]
        target = ["-o", str(folder / LIBRARY_NAME)]
        return [linker, "-shared", *objects, *target, *flags]

    def _host_flags(self) -> list[str]:
        return ["-std=c++17", "-fPIC"]

    def _tensorflow_flags(self) -> list[str]:
        import tensorflow as tf

        return [flag for flag in tf.sysconfig.get_compile_flags() if "std=" not in flag]


def cuda_command(toolchain: Toolchain, name: str, folder: Path) -> list[str]:
    """The nvcc command for one .cu file; it needs no TensorFlow header."""
    generations = []
    for capability in toolchain.capabilities:
        generations += ["-gencode", f"arch=compute_{capability},code=sm_{capability}"]
    newest = toolchain.capabilities[-1]  # PTX, so that newer GPUs can translate it
    generations += ["-gencode", f"arch=compute_{newest},code=compute_{newest}"]
    return [toolchain.nvcc, "-c", "-O3", "-std=c++17", "-Xcompiler", "-fPIC", *generations,
            f"-I{SOURCE}", str(SOURCE / f"{name}.cu"), "-o", str(folder / f"{name}.o")]  # fmt: skip


def find_toolchain(*, want_cuda: bool | None = None) -> Toolchain:
    """Look for the compilers.

    CUDA kernels are made where TensorFlow sees a GPU (then for that GPU only), where
    GANSFORMER_CUDA is 1 or `want_cuda` is true (then for every generation that nvcc knows).
    """
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    present = [] if want_cuda is not None else visible_capabilities()
    if want_cuda is None:
        want_cuda = bool(present) or os.environ.get("GANSFORMER_CUDA") == "1"
    nvcc = find_nvcc() if want_cuda else None
    if nvcc is None:
        return Toolchain(compiler, None)
    known = subprocess.run(
        [nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=False, timeout=60
    ).stdout.split()
    known = [name.removeprefix("compute_") for name in known]
    wanted = tuple(c for c in present or CAPABILITIES if c in known)
    return Toolchain(compiler, nvcc, wanted or CAPABILITIES[-1:])


def find_nvcc() -> str | None:
    """Return the path of nvcc, if there is one."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    candidates = ["nvcc", *(f"{home}/bin/nvcc" for home in homes if home)]
    found = [path for path in map(shutil.which, candidates) if path]
    return os.path.realpath(found[0]) if found else None


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
    """Return what Linux tells about the processor, elsewhere nothing."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _vector_flags() -> list[str]:
    return ["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _cpu_digest() -> str:
    """Code for one processor may crash on another that shares the home directory."""
    marks = ("flags", "Features", "model name", "CPU part")
    lines = read_cpuinfo().splitlines()
    text = "\n".join(sorted({line for line in lines if line.startswith(marks)}))
    return platform.machine() + hashlib.sha256(text.encode()).hexdigest()[:16]
