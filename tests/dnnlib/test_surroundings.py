"""Machines that lack something: a temporary folder, a home, locks, or Linux."""

import os
import subprocess
import sys

import pytest

from tests.golden_files import ROOT

WITHOUT_TEMPORARY_FILES = """
import runpy, sys, tempfile
def refuse(): raise FileNotFoundError(2, "No usable temporary directory found")
tempfile._get_default_tempdir = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def test_no_temporary_folder_and_no_home(tmp_path):
    model = ["--model", "cartoonset64-duplex-cpu", "--num", 1, "--ops", "reference"]
    place = {"HOME": "/", "GANSFORMER_CACHE": str(tmp_path / "cache")}
    program = [ROOT / "scripts" / "generate.py", *model, "--out", tmp_path / "out"]
    found = run_python("-c", WITHOUT_TEMPORARY_FILES, *program, **place)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "out" / "seed000000.png").stat().st_size > 1000


@pytest.mark.parametrize("module", ["dnnlib", "dnnlib.files", "scripts.train"])
def test_windows_gets_a_sentence(module):
    found = run_python("-c", f"import sys; sys.platform = 'win32'; import {module}")
    assert found.returncode == 1
    assert found.stderr.startswith("error: this runs on Linux and macOS; on Windows, use it")
    assert found.stderr.count("\n") == 1


def test_a_run_without_locks(tmp_path):
    """Lustre without -o flock: one line, and nobody is blamed."""
    program = """
import errno, fcntl, sys
from pathlib import Path
def refuse(*arguments): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = refuse
from training.run.lock import hold_run, is_held
with hold_run(Path(sys.argv[1])):
    print(is_held(Path(sys.argv[1])))
"""
    found = run_python("-c", program, tmp_path / "run")
    assert found.stdout == "False\n" and found.stderr.count("\n") == 1, found.stderr
    assert "this file system has no locks" in found.stderr
