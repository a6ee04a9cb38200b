"""doctor.py reports which implementation is live and why, and how it would be built."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run_doctor(*arguments, **environment):
    command = [sys.executable, str(ROOT / "scripts" / "doctor.py"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def rows(result):
    return [line.split(maxsplit=1) for line in result.stdout.splitlines()]


def test_reports_what_is_missing(tmp_path):
    result = run_doctor(PATH="/nonexistent", GANSFORMER_CACHE=str(tmp_path))
    assert result.returncode == 0, result.stderr
    found = dict(rows(result))
    assert found["ops"].startswith("reference: no C++ compiler")
    assert str(tmp_path) in found["cache"] and "writable" in found["cache"]


def test_reports_compiler_and_exact_commands():
    result = run_doctor()
    assert result.returncode == 0, result.stderr
    topics = [row[0] for row in rows(result)]
    assert {"python", "tensorflow", "device", "ops", "log"} <= set(topics)
    assert "CUDA compiler" in result.stdout
    commands = [row[1] for row in rows(result) if row[0] == "command"]
    assert any("upfirdn2d_op.cc" in c for c in commands) and "-shared" in commands[-1]


def test_unknown_option_ends_in_one_line():
    result = run_doctor("--devcies")
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
