"""Compiles the native ops at first use and keeps the result in a cache.

The cache folder is $GANSFORMER_CACHE/ops, by default ~/.cache/gansformer/ops. Each combination of
source, TensorFlow, processor, compiler and flags has its own folder in it with the library, the log
and build.json (what it was made from, and the library's digest, so that a damaged one is noticed).
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import atomic_directory, atomic_file
from dnnlib.ops.toolchain import LIBRARY_NAME, Toolchain, find_toolchain

PREBUILT = Path(__file__).parent / "built"  # filled by build_ahead
_COMPILE_TIMEOUT_S = 900


@dataclass(frozen=True)
class Library:
    """A library that is ready to be loaded."""

    path: Path
    has_cuda: bool
    origin: str


def cache_folder() -> Path:
    """Return the folder that holds compiled libraries, one folder each."""
    override = os.environ.get("GANSFORMER_CACHE")
    return (Path(override) if override else Path("~/.cache/gansformer").expanduser()) / "ops"


def log_file(toolchain: Toolchain) -> Path:
    """Return where the log of the last attempt to build with `toolchain` is."""
    return cache_folder() / f"{toolchain.key}.log"


def find_or_build(toolchain: Toolchain | None = None) -> Library:
    """Return the library for this machine, compiling it if it is not in the cache.

    Several processes may ask at once: one compiles, the others wait. Raises UserError, in one line
    that says what to do, if there is no library and none can be made.
    """
    toolchain = toolchain or find_toolchain()
    ready = _find(toolchain)
    if ready:
        return ready
    if toolchain.compiler is None:
        raise UserError("no C++ compiler in PATH; install g++ or set CXX")
    folder = cache_folder() / toolchain.key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            ready = _find(toolchain)  # another process may have been faster
            if ready is None:
                _build(toolchain, folder)
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or folder}: {error.strerror}; "
            "set GANSFORMER_CACHE to a folder that can be written"
        ) from error
    return ready or _require(folder, "just compiled")


def build_ahead(folder: Path | None = None) -> Path:
    """Compile now, for setup.py, into `folder` (by default inside the package); return the library.

    The library is used where processor, TensorFlow and compiler are those of this machine;
    elsewhere the ops are compiled at first use as always.
    """
    toolchain = find_toolchain()
    if toolchain.compiler is None:
        raise UserError("no C++ compiler in PATH; install g++ or set CXX")
    target = (folder or PREBUILT) / toolchain.key
    target.parent.mkdir(parents=True, exist_ok=True)
    _build(toolchain, target)
    return target / LIBRARY_NAME


def _find(toolchain: Toolchain) -> Library | None:
    for parent, origin in ((PREBUILT, "built ahead"), (cache_folder(), "from the cache")):
        folders = [parent / toolchain.key]
        if toolchain.compiler is None and parent.is_dir():  # made when there was a compiler
            folders = sorted(path.parent for path in parent.glob("*/build.json"))
        for folder in folders:
            ready = _inspect(folder, toolchain.identity, origin)
            if ready:
                return ready
    return None


def _inspect(folder: Path, identity: dict[str, str], origin: str) -> Library | None:
    """Return the library in `folder` if it is whole and made for `identity`."""
    try:
        about = json.loads((folder / "build.json").read_text())
        content = (folder / LIBRARY_NAME).read_bytes()
    except (OSError, ValueError):
        return None
    whole = hashlib.sha256(content).hexdigest() == about.get("sha256")
    if not whole or about.get("identity") != identity:
        return None
    return Library(folder / LIBRARY_NAME, bool(identity["cuda"]), origin)


def _require(folder: Path, origin: str) -> Library:
    identity = json.loads((folder / "build.json").read_text())["identity"]
    return Library(folder / LIBRARY_NAME, bool(identity["cuda"]), origin)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it even if this process is killed."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(toolchain: Toolchain, folder: Path) -> None:
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
    with ThreadPoolExecutor(2) as pool:
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
