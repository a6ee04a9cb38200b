"""Starting several processes that belong together."""

import signal
import subprocess
import sys
import time

import pytest

from dnnlib.errors import UserError
from dnnlib.launching import divide_gpus, launch
from tests.golden_files import ROOT


def test_gpus_are_divided():
    assert divide_gpus([], 2) == []
    assert divide_gpus(["0", "1", "2", "3"], 2) == [["0", "1"], ["2", "3"]]
    with pytest.raises(UserError, match="3 GPUs do not divide into 2 workers"):
        divide_gpus(["0", "1", "2"], 2)


PROGRAM = """
import json, os, sys, time
task = json.loads(os.environ["TF_CONFIG"])
index = task["task"]["index"]
assert len(set(task["cluster"]["worker"])) == 3
{body}
"""


def test_launch_ends_all_when_one_fails(tmp_path, monkeypatch):
    program = tmp_path / "program.py"
    monkeypatch.setattr("dnnlib.launching.GRACE_S", 1)
    program.write_text(PROGRAM.format(body="sys.exit(3) if index == 1 else time.sleep(600)"))
    started = time.monotonic()
    with pytest.raises(UserError, match="worker 1 ended with status 3; all have been stopped"):
        launch([str(program)], 3)
    assert time.monotonic() - started < 60
    program.write_text(PROGRAM.format(body="os.kill(os.getpid(), 9) if index == 2 else None"))
    with pytest.raises(UserError, match="worker 2 was ended by SIGKILL"):
        launch([str(program)], 3)


def test_launch_passes_signals_on(tmp_path):
    program = tmp_path / "program.py"
    body = """
import signal
def stop(number, frame):
    open(f"{sys.argv[1]}/stopped{index}", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open(f"{sys.argv[1]}/ready{index}", "w").close()
time.sleep(600)
"""
    program.write_text(PROGRAM.format(body=body))
    launcher = [sys.executable, str(ROOT / "scripts" / "launch.py"), "3", str(program)]
    process = subprocess.Popen([*launcher, str(tmp_path)])
    while len(list(tmp_path.glob("ready*"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert len(list(tmp_path.glob("stopped*"))) == 3
