"""Broken environments: the ops work or fall back with one line, and the image is the same."""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops
from dnnlib.ops import library
from dnnlib.ops.build import LIBRARY_NAME, SOURCE, find_toolchain
from dnnlib.ops.library import find_or_build

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
import numpy as np
from dnnlib import ops
x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
for _ in range(2):
    y = ops.bias_act(ops.upsample2d(x, [1, 3, 3, 1]), np.ones(3, np.float32), activation="lrelu")
print("IMPLEMENTATION", ops.implementation())
np.save(sys.argv[1], y)
"""


def start(folder: Path, *prefix: str, **environment: str) -> subprocess.Popen:
    """Run PROGRAM in its own process (by `prefix`); it saves its image in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    merged = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", PROGRAM, str(folder / "y.npy")],
        cwd=folder,  # else Python finds the packages of the present folder first
        env=merged,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, folder: Path) -> tuple[str, list[str]]:
    """Return which implementation was live and what this project said on stderr."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    live = next(line for line in output.splitlines() if line.startswith("IMPLEMENTATION"))
    said = [line for line in errors.splitlines() if line.startswith(("ops:", "compiling"))]
    np.testing.assert_allclose(np.load(folder / "y.npy"), expected_image(), atol=2e-6)
    return live.removeprefix("IMPLEMENTATION "), said


@cache
def expected_image() -> np.ndarray:
    """The image by the reference."""
    code = PROGRAM.replace("x =", "ops.set_implementation('reference')\nx =")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "y.npy"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, str(path)]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return np.load(path)


def make_cache(folder: Path) -> Path:
    """Copy the ready library of this session into a cache of its own; return its folder."""
    ready = find_or_build().path.parent
    target = folder / "ops" / ready.name
    shutil.copytree(ready, target)
    return target


def test_this_machine_builds_them():
    """Where there is a compiler the other tests must not quietly fall back."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    assert find_or_build().path.is_file()


def test_no_compiler_and_empty_cache_falls_back_with_one_line(tmp_path):
    process = start(tmp_path, PATH="/nonexistent", GANSFORMER_CACHE=str(tmp_path / "cache"))
    live, said = finish(process, tmp_path)
    assert live.startswith("reference: no C++ compiler in PATH")
    assert len(said) == 1 and "install g++" in said[0]


def test_no_compiler_but_a_cached_library(tmp_path):
    make_cache(tmp_path)
    live, said = finish(
        start(tmp_path, PATH="/nonexistent", GANSFORMER_CACHE=str(tmp_path)), tmp_path
    )
    assert live.startswith("native:") and not said


def test_broken_compiler_falls_back_with_one_line(tmp_path):
    compiler = tmp_path / "bad-g++"
    compiler.write_text("#!/bin/sh\necho 'x.cc:1: error: too old'\nexit 1\n")
    compiler.chmod(0o755)
    folder = tmp_path / "cache"
    process = start(tmp_path, CXX=str(compiler), GANSFORMER_CACHE=str(folder))
    live, said = finish(process, tmp_path)
    assert "compiling failed: x.cc:1: error: too old" in live
    assert [line.split(":")[0] for line in said] == [said[0], "ops"]  # tried once, said once
    (log,) = folder.glob("ops/*.log")
    assert "exit status 1" in log.read_text()
    assert not list(folder.glob("ops/*/"))


def test_unusable_cache_folder_falls_back(tmp_path):
    """A file where the cache folder should be: what a read-only disk is to a test run as root."""
    (tmp_path / "cache").write_text("")
    process = start(tmp_path, GANSFORMER_CACHE=str(tmp_path / "cache"))
    live, said = finish(process, tmp_path)
    assert live.startswith("reference: cannot write") and "set GANSFORMER_CACHE" in said[0]
    assert len(said) == 1


@pytest.mark.parametrize("content, expected", [("full", "native"), ("empty", "reference: cannot")])
def test_read_only_cache(tmp_path, content, expected):
    # Root may write everywhere, unless it gives that right up.
    prefix = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    if prefix and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("root cannot give up its rights here")
    read_only = tmp_path / "cache"
    if content == "full":
        make_cache(read_only)
    (read_only / "ops").mkdir(parents=True, exist_ok=True)
    (read_only / "ops").chmod(0o555)
    folder = tmp_path / "run"
    live, said = finish(start(folder, *prefix, GANSFORMER_CACHE=str(read_only)), folder)
    (read_only / "ops").chmod(0o755)
    assert live.startswith(expected) and len(said) == (content == "empty")


@pytest.mark.slow
def test_corrupt_library_is_rebuilt_by_one_of_two_processes(tmp_path):
    library = make_cache(tmp_path) / LIBRARY_NAME
    whole = library.read_bytes()
    library.write_bytes(whole[: len(whole) // 2])
    folders = [tmp_path / "run" / name for name in "ab"]
    processes = [start(folder, GANSFORMER_CACHE=str(tmp_path)) for folder in folders]
    results = [finish(p, folder) for p, folder in zip(processes, folders, strict=True)]
    assert all(live.startswith("native:") for live, _ in results)
    assert sum(len(said) for _, said in results) == 1  # "compiling ...", by one of them
    assert len(library.read_bytes()) == len(whole)


def test_other_processor_or_source_has_another_key(monkeypatch):
    first = find_toolchain().key
    monkeypatch.setattr("dnnlib.ops.build._digest_of_sources", lambda: "other")
    assert find_toolchain().key != first
    monkeypatch.undo()
    monkeypatch.setattr("dnnlib.ops.build._cpu_digest", lambda: "other")
    assert find_toolchain().key != first


@pytest.mark.slow
def test_pip_compiles_ahead(tmp_path):
    """GANSFORMER_BUILD_OPS=1 pip install: used from the package, also where no compiler is left."""
    source, package = tmp_path / "source", tmp_path / "package"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "tests", "docs"))
    options = ["--no-deps", "--no-build-isolation", "--target", str(package)]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *options, str(source)],
        env={**os.environ, "GANSFORMER_BUILD_OPS": "1"},
        check=True,
    )
    environment = {"PYTHONPATH": str(package), "GANSFORMER_CACHE": str(tmp_path / "cache")}
    for search_path in (os.environ["PATH"], "/nonexistent"):
        process = start(tmp_path / "run", PATH=search_path, **environment)
        live, said = finish(process, tmp_path / "run")
        assert live.startswith(f"native: CPU kernels built ahead ({package}") and not said


class _Recorder:
    """Stands in for the kernels; every call of one is an error."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was called")


@pytest.mark.parametrize("has_cuda", [False, True])
def test_a_gpu_never_gets_kernels_for_cpus(monkeypatch, has_cuda):
    """Ops choose by the device that they will run on, whatever the library has been built for."""
    found = library.Library(Path("some.so"), has_cuda, "made up")
    choice = {"kernels": _Recorder(), "library": found, "wanted": "auto", "tried_gpu": has_cuda}
    choice["failure_on_gpu"] = None
    for name, value in {**choice, "faults": {"CPU": {}, "GPU": {}}}.items():
        monkeypatch.setattr(library._choice, name, value)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
    for device in ("CPU", "GPU"):
        with tf.Graph().as_default(), tf.device(device):
            choices = [
                library.native_kernels("attention_gain"),
                library.native_kernels("bias_act", cuda=True),
            ]
        assert [choice is not None for choice in choices] == [
            device == "CPU",
            device == "CPU" or has_cuda,
        ]
    assert ops.implementation().startswith("native" if has_cuda else "reference: some.so")


def test_every_source_is_compiled():
    """By the end of their names; headers are all else."""
    commands = find_toolchain(want_cuda=False).compile_commands(Path("out"))
    compiled = {part for command in commands for part in command if part.endswith(".cc")}
    assert compiled == {str(path) for path in SOURCE.glob("**/*.cc")}
    assert len({command[-1] for command in commands}) == len(commands)
