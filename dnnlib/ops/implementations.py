"""Which implementation of the ops is live: native (compiled) or reference (plain TensorFlow).

Decided at first use and at most once per process: a failed build is never tried again, it costs one
line on stderr and some speed.
"""

import sys
import threading
from types import ModuleType

import tensorflow as tf

from dnnlib.errors import UserError, suggest
from dnnlib.ops import reference
from dnnlib.ops.build import find_or_build
from dnnlib.ops.native import NativeOps
from dnnlib.ops.toolchain import find_toolchain, visible_capabilities

CHOICES = ("auto", "native", "reference")


class _Choice:
    """The choice of this process."""

    def __init__(self):
        self.lock = threading.RLock()
        self.wanted = "auto"
        self.native: NativeOps | None = None
        self.origin = ""
        self.failure: str | None = None  # why native cannot be had, once that was tried
        self.told = False

    def try_native(self) -> NativeOps | None:
        """Return the native ops, loading them at the first call; None if that has failed."""
        with self.lock:
            if self.native is None and self.failure is None:
                try:
                    self.native, self.origin = _load_native()
                except UserError as error:
                    self.failure = str(error)
            return self.native


_choice = _Choice()


def set_implementation(name: str) -> None:
    """Choose "auto" (native if it can be had), "native" (or a UserError) or "reference".

    Functions that tf.function has traced already keep what they were traced with.
    """
    if name not in CHOICES:
        raise UserError(
            f'unknown ops implementation "{name}"{suggest(name, CHOICES)}; '
            f"known: {', '.join(CHOICES)}"
        )
    if name == "native" and _choice.try_native() is None:
        raise UserError(
            f"the native ops cannot be had: {_choice.failure}; use --ops auto or --ops reference, "
            "and scripts/doctor.py for the whole diagnosis"
        )
    _choice.wanted = name


def implementation() -> str:
    """Tell which implementation is live and why, in one line that starts with its name."""
    if _choice.wanted == "reference":
        return "reference: chosen"
    if _choice.try_native() is None:
        return f"reference: {_choice.failure}"
    return f"native: {_choice.origin}"


def live_operations() -> NativeOps | ModuleType:
    """Return what holds the live `upfirdn2d` and `bias_act`."""
    if _choice.wanted == "reference":
        return reference
    native = _choice.try_native()
    if native is None and not _choice.told:
        _choice.told = True
        print(
            f"ops: using the slower plain TensorFlow form: {_choice.failure}",
            file=sys.stderr,
            flush=True,
        )
    return native or reference


def _load_native() -> tuple[NativeOps, str]:
    toolchain = find_toolchain()
    if visible_capabilities() and toolchain.nvcc is None:
        raise UserError("there is a GPU but no nvcc; install the CUDA toolkit or set CUDA_HOME")
    library = find_or_build(toolchain)
    try:
        with tf.init_scope():
            loaded = tf.load_op_library(str(library.path))
    except (tf.errors.OpError, OSError, RuntimeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{library.path} cannot be loaded: {lines[0]}") from error
    devices = "CPU and CUDA" if library.has_cuda else "CPU"
    native = NativeOps(loaded, has_cuda=library.has_cuda)
    return native, f"{devices} kernels {library.origin} ({library.path})"
