"""The compiled kernels: whether an op uses them, and where the library with them comes from.

Decided at first use and at most once per process: a failed build is never tried again, it costs one
line on stderr and some speed. Ops that have no kernels for the device they run on, and all of them
where there is no library, take their plain TensorFlow form, the reference.

Libraries lie in $GANSFORMER_CACHE/ops, by default ~/.cache/gansformer/ops. Each combination of
source, TensorFlow, processor, compiler and flags has its own folder in it with the library, the log
and build.json (what it was made from, and the library's digest, so that a damaged one is noticed).

Before its kernels are used on a device, each op is compared with its plain form there (checks.py);
one that is wrong or fails takes its plain form, with one line on stderr. A library that was right
is not asked again on a device with the same name and driver: checked.json in its folder.
"""

import ctypes
import fcntl
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from dnnlib.cache import cache_directory
from dnnlib.errors import UserError, suggest
from dnnlib.files import atomic_file
from dnnlib.nvidia import driver_version
from dnnlib.ops.build import (
    LIBRARY_NAME,
    SOURCE,
    Toolchain,
    build,
    find_sources,
    find_toolchain,
    require_compiler,
    visible_capabilities,
)
from dnnlib.ops.nvrtc import compile_cached

CHOICES = ("auto", "native", "reference")
PREBUILT = Path(__file__).parent / "built"  # filled by build_ahead


class _Choice:
    """The choice of this process."""

    def __init__(self):
        self.lock = threading.RLock()
        self.wanted = "auto"
        self.kernels: Any = None
        self.library: Library | None = None
        self.failure: str | None = None  # why there are no kernels, once that was tried
        self.tried_gpu = False  # whether it has been tried to compile the kernels for GPUs
        self.failure_on_gpu: str | None = None  # why there are none for GPUs
        self.warned = False
        self.faults: dict[str, dict[str, str]] = {}  # of ops, by device
        self.forced = threading.local()  # kernels of `choosing`

    def load(self) -> Any:
        """Return the kernels, loading them at the first call; None if that has failed."""
        with self.lock:
            if self.kernels is None and self.failure is None:
                try:
                    self.library = find_or_build()
                    self.kernels = _load(self.library)
                except UserError as error:
                    self.failure = str(error)
            return self.kernels

    def missing(self, device: str) -> str | None:
        """Return why ops that run on `device`, "CPU" or "GPU", find no kernels; None if they do."""
        if self.load() is None:
            return self.failure
        return self._missing_on_gpu() if device == "GPU" else None

    def _missing_on_gpu(self) -> str | None:
        with self.lock:
            if not self.tried_gpu:
                self.tried_gpu = True
                try:
                    _add_cuda_code(self.library)
                except UserError as error:
                    self.failure_on_gpu = str(error)
            return self.failure_on_gpu

    def find_faults(self, device: str) -> dict[str, str]:
        """Return what is wrong with which op on a device, "CPU" or "GPU"; it has kernels."""
        with self.lock:
            if device not in self.faults:
                self.faults[device] = _find_faults(self.kernels, self.library, device)
                for op, fault in self.faults[device].items():
                    line = f"ops: {op} {fault}; using its slower plain TensorFlow form"
                    print(line, file=sys.stderr, flush=True)
            return self.faults[device]

    def warn_once(self, reason: str) -> None:
        """Say on stderr that the native ops are missing."""
        if not self.warned:
            self.warned = True
            message = f"ops: using the slower plain TensorFlow form: {reason}"
            print(message, file=sys.stderr, flush=True)


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
    reason = _choice.missing(_default_device()) if name == "native" else None
    if reason:
        raise UserError(
            f"the native ops cannot be had: {reason}; use --ops auto or --ops reference, "
            "and scripts/doctor.py for the whole diagnosis"
        )
    if name == "native":
        for op, fault in _choice.find_faults(_default_device()).items():
            raise UserError(f"the native op {op} {fault}; use --ops auto or --ops reference")
    _choice.wanted = name


@contextmanager
def use_implementation(name: str) -> Iterator[None]:
    """Choose an implementation for what is traced or computed within the block, in all threads."""
    before = _choice.wanted
    set_implementation(name)
    try:
        yield
    finally:
        _choice.wanted = before


def is_reference_chosen() -> bool:
    """Whether "reference" was chosen: then networks, too, take their plain form."""
    return _choice.wanted == "reference"


def implementation() -> str:
    """Return which implementation is live and why, in one line that starts with its name."""
    if _choice.wanted == "reference":
        return "reference: chosen"
    reason = _choice.missing(_default_device())
    if reason:
        return f"reference: {reason}"
    library = _choice.library
    devices = "CPU and CUDA" if _default_device() == "GPU" else "CPU"
    return f"native: {devices} kernels {library.origin} ({library.path})"


def native_kernels(op: str, *, cuda: bool = False) -> Any:
    """Return what holds the kernels of an op, or None where it takes its plain form.

    Asked where the op is called, as the answer depends on the device that it will run on.
    cuda: whether the op has kernels for GPUs.
    """
    if hasattr(_choice.forced, "kernels"):
        return _choice.forced.kernels
    if _choice.wanted == "reference":
        return None
    device = current_device()
    reason = _choice.missing(device)
    if reason:
        _choice.warn_once(reason)
        return None
    if device == "GPU" and not cuda:
        return None
    return None if op in _choice.find_faults(device) else _choice.kernels


@contextmanager
def choosing(kernels: Any) -> Iterator[None]:
    """Make all ops of this thread take these kernels, or with None their plain form."""
    _choice.forced.kernels = kernels
    try:
        yield
    finally:
        del _choice.forced.kernels


def checked_ops() -> list[tuple[str, str]]:
    """Return what the comparison of the ops with their plain forms has found on each device."""
    devices = {"CPU", _default_device()}
    found = []
    for device in sorted(name for name in devices if not _choice.missing(name)):
        faults = _choice.find_faults(device)
        found += [(f"ops on {device}", f"plain form: {op} {what}") for op, what in faults.items()]
        if not faults:
            found.append((f"ops on {device}", "agree with their definitions"))
    return found


def forbid_saving_native_ops() -> None:
    """Make the function that is being traced one that cannot be saved, if it gets native kernels.

    A SavedModel with them could be loaded in this project only. TensorFlow saves no function that
    knows a resource which is no part of the saved object; it shows the resource's name.
    """
    is_plain = is_reference_chosen() or _choice.missing(current_device())
    if tf.inside_function() and not is_plain:
        with tf.init_scope(), tf.device("CPU:0"):
            resource = tf.raw_ops.VarHandleOp(dtype=tf.int32, shape=[], shared_name=_NO_SAVING)
        tf.compat.v1.get_default_graph().capture(resource)


_NO_SAVING = "native_operations_cannot_be_saved__use_export.py"


def current_device() -> str:
    """Return "GPU" or "CPU": where an op that is called here runs."""
    if _default_device() == "CPU":
        return "CPU"
    # In a graph: what the scopes around this place ask for, if anything.
    device = tf.DeviceSpec.from_string(tf.zeros([]).device).device_type
    return "CPU" if device == "CPU" else "GPU"


def _default_device() -> str:
    return "GPU" if tf.config.get_visible_devices("GPU") else "CPU"


@dataclass(frozen=True)
class Library:
    """A library that is ready to be loaded."""

    path: Path
    has_cuda: bool
    origin: str


def cache_folder() -> Path:
    """Return the folder that holds compiled libraries, one folder each."""
    return cache_directory("ops")


def find_or_build(toolchain: Toolchain | None = None) -> Library:
    """Return the library for this machine, compiling it if it is not in the cache.

    Several processes may ask at once: one compiles, the others wait. Raises UserError, in one line
    that says what to do, if there is no library and none can be made.
    """
    toolchain = toolchain or find_toolchain()
    ready = _find(toolchain)
    if ready:
        return ready
    require_compiler(toolchain)
    folder = cache_folder() / toolchain.key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            ready = _find(toolchain)  # another process may have been faster
            if ready is None:
                build(toolchain, folder)
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or folder}: {error.strerror}; "
            "set GANSFORMER_CACHE to a folder that can be written"
        ) from error
    return ready or Library(folder / LIBRARY_NAME, toolchain.cuda, "just compiled")


def build_ahead(folder: Path = PREBUILT) -> Path:
    """Compile now, for setup.py, into `folder` (by default inside the package); return the library.

    The library is used where processor, TensorFlow and compiler are those of this machine;
    elsewhere the ops are compiled at first use as always.
    """
    toolchain = find_toolchain()
    require_compiler(toolchain)
    folder.mkdir(parents=True, exist_ok=True)
    build(toolchain, folder / toolchain.key)
    return folder / toolchain.key / LIBRARY_NAME


def _find(toolchain: Toolchain) -> Library | None:
    for parent, origin in ((PREBUILT, "built ahead"), (cache_folder(), "from the cache")):
        folders = [parent / toolchain.key]
        if toolchain.compiler is None and parent.is_dir():  # made when there was a compiler
            folders = sorted(path.parent for path in parent.glob("*/build.json"))
        for folder in folders:
            if _is_whole(folder, toolchain.identity):
                return Library(folder / LIBRARY_NAME, toolchain.cuda, origin)
    return None


def _is_whole(folder: Path, identity: dict[str, str]) -> bool:
    """Whether the library in `folder` is undamaged and made for `identity`."""
    try:
        about = json.loads((folder / "build.json").read_text())
        content = (folder / LIBRARY_NAME).read_bytes()
    except (OSError, ValueError):
        return False
    digest = hashlib.sha256(content).hexdigest()
    return digest == about.get("sha256") and about.get("identity") == identity


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it even if this process is killed."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find_faults(kernels: Any, library: Library, device: str) -> dict[str, str]:
    from dnnlib.ops.checks import find_faults

    record = library.path.with_name("checked.json")
    try:
        right = json.loads(record.read_text())
    except (OSError, ValueError):
        right = []
    name = _name_of(device)
    if name in right:
        return {}
    with ThreadPoolExecutor(1) as pool:  # a thread without a graph, tapes or a strategy around it
        faults = pool.submit(find_faults, kernels, device).result()
    if not faults:
        with suppress(OSError, UserError), atomic_file(record, "w") as file:
            json.dump([*right, name], file)
    return faults


def _name_of(device: str) -> str:
    """Return the name under which a device was checked: for GPUs, all that are visible."""
    if device == "CPU":
        return "CPU"  # its kind is part of what the library was made from
    gpus = [
        tf.config.experimental.get_device_details(gpu)
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    return f"{len(gpus)} GPU, driver {driver_version()}: {sorted(map(str, gpus))}"


def _add_cuda_code(library: Library) -> None:
    """Compile the kernels for the visible GPUs, unless they are in the cache. Raises UserError."""
    if not library.has_cuda:
        raise UserError(f"{library.path} has been built without GPUs")
    host = ctypes.CDLL(str(library.path))
    host.gansformer_add_cuda_code.restype = None
    for capability in visible_capabilities():
        for code in compile_cached(find_sources("_cuda.cu"), SOURCE, capability, cache_folder()):
            host.gansformer_add_cuda_code(int(capability), code, ctypes.c_int64(len(code)))


def _load(library: Library) -> Any:
    try:
        with tf.init_scope():
            return tf.load_op_library(str(library.path))
    except (tf.errors.OpError, OSError, RuntimeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{library.path} cannot be loaded: {lines[0]}") from error
