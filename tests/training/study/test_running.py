"""Running studies: failures, signals, kills, and two jobs."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib.cli import run
from dnnlib.errors import UserError
from dnnlib.json_lines import read_lines
from dnnlib.signals import STOPPED
from scripts.study import main
from tests.golden_files import ROOT
from training.run.directory import config_of_run
from training.study.results import find_results, read_points, read_study
from training.study.run import LOCK, hold_row

KILLS = int(os.environ.get("STUDY_KILLS", "3"))

ROWS = """
  - {name: first, config: CONFIG}
  - {name: second, config: CONFIG, set: [training.gamma=1]}
"""
BAD_AND_AUTO = """\
  - {name: bad, config: CONFIG, set: [data.labels=true]}
  - {name: auto, config: auto, set: [discriminator.kind=stylegan2]}
"""
STUDY = """
title: Two small rows
data: nowhere
prepare: demo --resolution 8 --max-images 50
kimg: 0.12
points: [0.04, 0.12]
metrics: swd10,fd-custom50
rows:
"""


@pytest.fixture
def study(tmp_path, small_config):
    path = tmp_path / "two.yaml"
    path.write_text(STUDY + ROWS.replace("CONFIG", str(small_config)))
    return path


def start(arguments, directory: Path, **options) -> subprocess.Popen:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "scripts" / "study.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, cwd=directory, **options)


def run_study(arguments, directory: Path) -> tuple[int, str]:
    process = start(arguments, directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0].decode()
    return process.returncode, output


def progress(runs: Path) -> int:
    """Return how far both rows are: minibatches of 4 in checkpoints, and 5 for each measurement."""
    done = 0
    for row in runs.glob("*-seed0"):
        done += max((int(path.name) // 4 for path in row.glob("checkpoints/0*")), default=0)
        done += 5 * len(read_lines(row / "metrics.jsonl"))
    return done


def wait_for_progress(runs: Path, process: subprocess.Popen, steps: int) -> None:
    """Wait for so many steps more than there are, and then some random part of the next."""
    before = progress(runs)
    while progress(runs) < before + steps:
        assert process.poll() is None, "the study ended before it was killed"
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.5 if steps else 6))


def without_times(report: str) -> str:
    """Return a report.md without the section about time."""
    return re.sub(r"## Cost\n.*?(?=## )", "", report, flags=re.DOTALL)


def test_two_jobs_never_work_on_one_row(tmp_path):
    row = tmp_path / "row"
    refused = pytest.raises(UserError, match="another process works on this row")
    with hold_row(row), refused, hold_row(row):
        pass
    with hold_row(row):  # free again
        assert (row / LOCK).is_file()


def test_results_of_one_point_are_joined_and_a_torn_line_is_left_out(tmp_path):
    """Metrics that were added to a study later are measured alone."""
    lines = [
        {"point": 2, "metrics": {"swd9": 1.0}, "networks": {"patches": "p"}, "time": "1"},
        {"kimg": 2, "metrics": {"fid9": 7.0}},  # evaluate.py's, not of a study
        {"point": 1, "metrics": {"swd9": 3.0}, "networks": {"patches": "p"}, "time": "2"},
        {"point": 2, "metrics": {"fid9": 2.0}, "networks": {"inception": "i"}, "time": "3"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"point": 3, "metr')
    found = read_points(tmp_path)
    assert list(found) == [1, 2]
    assert found[2]["metrics"] == {"swd9": 1.0, "fid9": 2.0}
    assert found[2]["networks"] == {"patches": "p", "inception": "i"}


def test_mistakes_end_with_one_line_and_status_2(tmp_path, study, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (["run", "smok"], 'study smok does not exist; did you mean "smoke"?'),
        (["run", study, "--rows", "third"], "there is no row third"),
        (["run", study, "--seeds", "1,x"], "--seeds 1,x: use whole numbers"),
        (["run", study, "--set", "training.gama=1"], 'row first: unknown option "training.gama"'),
        (["status", tmp_path / "empty"], "does not exist"),
        (["walk", study], "invalid choice"),
    ):
        assert run(main, list(map(str, arguments))) == 2
        output = "".join(capsys.readouterr())
        assert message in output and output.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["two.yaml"]


@pytest.mark.slow
def test_a_row_that_fails_does_not_lose_the_others(tmp_path, study, small_config, small_data):
    rows = BAD_AND_AUTO.replace("CONFIG", str(small_config))
    study.write_text(study.read_text().replace("rows:\n", "rows:\n" + rows))
    status, output = run_study(["run", study, "--data", small_data], tmp_path)
    assert status == 2
    assert f"{small_data} has no labels" in output
    assert "fd-custom50 is left out: metrics such as fd-custom50k need a network" in output
    last = output.splitlines()[-1]
    assert last.startswith("error: not finished: bad-seed0 (ended with status 2);")
    results = find_results(read_study(tmp_path / "runs" / "two"), tmp_path / "runs" / "two")
    assert [sorted(result.points) for result in results] == [[], *[[0.04, 0.12]] * 3]
    chosen = config_of_run(tmp_path / "runs" / "two" / "auto-seed0")
    assert (chosen.data.resolution, chosen.training.batch_size) == (8, 4)  # those of the data


@pytest.mark.slow
def test_killed_and_stopped_at_random_it_gives_the_same_report(tmp_path, study, small_data):
    """SIGKILL of study.py, at which what it had started ends too; and a signal, with status 75."""
    random.seed(5)
    arguments = ["run", study, "--data", small_data, "--runs"]
    with open(tmp_path / "log.txt", "w") as log:
        for kill in range(KILLS):
            process = start([*arguments, "killed"], tmp_path, stdout=log, stderr=log)
            wait_for_progress(tmp_path / "killed", process, random.randint(0, 60 // KILLS))
            process.kill()
            assert process.wait() == -signal.SIGKILL
            print(f"kill {kill} after {progress(tmp_path / 'killed')} of 80")
        process = start([*arguments, "killed"], tmp_path, stdout=log, stderr=log)
        wait_for_progress(tmp_path / "killed", process, 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == STOPPED
    status, output = run_study([*arguments, "killed"], tmp_path)
    assert status == 0, output
    assert run_study([*arguments, "whole"], tmp_path)[0] == 0
    reports = []
    for runs in ("killed", "whole"):
        assert run_study(["report", study, "--runs", runs], tmp_path)[0] == 0
        files = {path.name: path for path in (tmp_path / runs / "report-images").iterdir()}
        same = {name: p.read_bytes() for name, p in files.items() if "hours" not in name}
        reports.append((without_times((tmp_path / runs / "report.md").read_text()), same))
    assert "2 of 2 runs are finished" in reports[0][0]
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_smoke_study(tmp_path):
    """All five rows of the replication study, from the images that come along to the report."""
    status, output = run_study(["run", "smoke"], tmp_path)
    assert status == 0, output
    status, output = run_study(["report", "smoke"], tmp_path)
    assert status == 0, output
    text = (tmp_path / "runs" / "smoke" / "report.md").read_text()
    assert "5 of 5 runs are finished: 5 rows, 1 seed, 0.06 kimg." in text
    assert text.count("-attention.png") == 4 and text.count("-real.png") == 5
    status, output = run_study(["status", tmp_path / "runs" / "smoke"], tmp_path)
    assert status == 0 and output.count("finished; at 0.06 kimg swd200") == 5
