"""Who trains in a run directory, and what others are told."""

import json
import subprocess
import sys
import time

import pytest

from dnnlib.cli import run as run_program
from dnnlib.errors import UserError
from scripts.train import main as train
from tests.golden_files import ROOT
from training.run.lock import hold_run, is_held
from training.run.status import format_status

HOLD = """
import sys, time
from pathlib import Path
from training.run.lock import hold_run
with hold_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def write_run(run) -> None:
    """Write the files of a run by hand: 12 of 48 kimg at 100 images a second."""
    (run / "checkpoints" / "0000008000").mkdir(parents=True)
    (run / "snapshots" / "000012").mkdir(parents=True)
    (run / "config.yaml").write_text("training: {kimg: 48}\n")
    tick = {"nimg": 12000, "kimg": 12.0, "tick": 3, "loss/generator": 0.875}
    tick |= {"timing/img_per_sec": 100.0, "timing/sec_per_kimg": 10.0, "health/nonfinite": 0.25}
    (run / "stats.jsonl").write_text(json.dumps(tick) + '\n{"nimg": 16')
    metrics = {"kimg": 8, "nimg": 8000, "metrics": {"fid10k": 31.25}}
    (run / "metrics.jsonl").write_text(json.dumps(metrics) + "\n")


def test_a_run_has_one_process_at_a_time(holder, tmp_path):
    run = tmp_path / "run"
    assert is_held(run)
    with (
        pytest.raises(UserError, match=f"is being trained by process {holder.pid} "),
        hold_run(run),
    ):
        pass
    holder.kill()  # SIGKILL: it can tidy up nothing
    holder.wait()
    assert not is_held(run)
    with hold_run(run):
        assert is_held(run)
    assert not is_held(run)


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    for name in ("checkpoints/.0000000008.17.tmp/state.npz", "samples/.fakes.png.17.tmp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    with hold_run(tmp_path):
        pass
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == [".lock", "checkpoints", "samples"]


def test_status_of_a_running_run(holder, tmp_path):
    write_run(tmp_path / "run")
    lines = format_status(tmp_path / "run").splitlines()
    assert f"running, process {holder.pid} on" in lines[0]
    assert "12.00 of 48 kimg (25%), tick 3, 100.0 img/s, 6m 00s left" in lines[1]
    assert lines[2] == "  loss G 0.875  not finite in 25% of the minibatches"
    assert "8 kimg (" in lines[3] and lines[4].endswith("000012")
    assert "fid10k 31.2500  at 8 kimg" in lines[5]


def test_status_of_runs_that_do_not_run(tmp_path):
    run = tmp_path / "run"
    write_run(run)
    first = format_status(run).splitlines()
    assert "not running" in first[0] and "left" not in first[1]
    (run / "crash-000012").mkdir()
    crash = {"kimg": 12.5, "first_bad_tensor": "G/x"}
    (run / "crash-000012" / "crash.json").write_text(json.dumps(crash))
    assert "broke down at 12.50 kimg (G/x not finite)" in format_status(run)
    (run / "config.yaml").write_text("training: {kimg: 12}\n")
    assert format_status(run).splitlines()[0] == f"{run}: finished"


def test_status_command_needs_no_tensorflow(tmp_path, capsys):
    write_run(tmp_path)
    program = "import sys; sys.modules['tensorflow'] = None; import scripts.train as program; "
    program += "program.main(['--status', sys.argv[1]])"
    command = [sys.executable, "-c", program, str(tmp_path)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "12.00 of 48 kimg" in done.stdout, done.stderr
    assert time.monotonic() - started < 10
    assert run_program(train, ["--status", "/nowhere"]) == 2
    assert "/nowhere is not a run" in capsys.readouterr().err
