"""Several processes that train together, on this machine's loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnnlib.launching import find_ports, make_tf_config
from dnnlib.signals import STOPPED
from tests.golden_files import ROOT
from tests.training.runs import SMOOTH, assert_same_weights, read_state
from training.run.checkpoint import list_checkpoints

LOST_S = 30  # within which a worker must notice that another one was killed

# Twenty minibatches of 8, every regulariser, no dropout, noise and mixing as always.
RUN = """
generator:
  latent_size: 32
  components: 4
  channel_base: 64
  channel_max: 16
  attention: simplex
  component_embedding: true
  mapping: {layers: 2}
discriminator: {channel_base: 64, channel_max: 16}
data: {resolution: 16, mirror: true}
training:
  kimg: 0.16
  batch_size: 8
  batch_per_device: 4
  regularizer_interval: 4
  path_length_weight: 2
  path_length_interval: 8
output: {tick_kimg: 0.08, grid_kimg: 0.08, snapshot_kimg: 0.08, grid_columns: 2, grid_rows: 1}
"""


@pytest.fixture
def command(tiny_data, tmp_path):
    """What starts train.py, without --run."""
    (tmp_path / "run.yaml").write_text(RUN)
    command = [sys.executable, ROOT / "scripts" / "train.py", "--config", tmp_path / "run.yaml"]
    return [str(part) for part in [*command, "--data", tiny_data, "--devices", "cpu"]]


def run(command, **options) -> str:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    options = {"capture_output": True, "text": True, "env": environment, "cwd": "/", **options}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# train.py with a metric that needs no weights, but variables of its own as feature networks have.
PROGRAM_WITH_METRIC = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, tensorflow as tf
import training.measure.live_evaluation
from dnnlib.cli import run
from gansformer.generation import Sampler
from scripts.train import main

def evaluate(generator, dataset, metrics, **options):
    network = tf.Variable(tf.random.stateless_normal([16 * 16 * 3, 1], [1, 2]))
    batches = Sampler(generator, psi=1.0).batches(range(8))
    images = np.concatenate([out.images for _, out in batches])
    return dict(fid10k=float(tf.reduce_mean(images.reshape(8, -1) @ network)))

training.measure.live_evaluation.evaluate_generator = evaluate
sys.exit(run(main))
"""


def read_metrics(directory: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return {line["nimg"]: line["metrics"]["fid10k"] for line in lines}


@pytest.mark.slow
def test_two_workers_equal_one_device(command, tmp_path):
    (tmp_path / "train.py").write_text(PROGRAM_WITH_METRIC)
    command = [str(tmp_path / "train.py"), *command[2:]]
    options = ["--set", *SMOOTH, "evaluation.metrics=fid10k", "evaluation.every_kimg=0.08"]
    one = [*options, "training.batch_per_device=8", "--run", str(tmp_path / "one")]
    run([sys.executable, *command, *one])
    launcher = [sys.executable, str(ROOT / "scripts" / "launch.py"), "2"]
    out = run([*launcher, *command, *options, "--run", str(tmp_path / "two")])
    assert "batch 8 as 1 x 4 on 2 device(s)" in out and out.count("finished 0.16 kimg") == 1
    metrics = [read_metrics(tmp_path / name) for name in ("one", "two")]
    assert list(metrics[0]) == [80, 160] and metrics[1] == pytest.approx(metrics[0], abs=1e-4)
    one, two = read_state(tmp_path / "one"), read_state(tmp_path / "two")
    assert_same_weights(one, two)
    files = lambda run: sorted(str(p.relative_to(run)) for p in run.rglob("*.png"))  # noqa: E731
    assert files(tmp_path / "one") == files(tmp_path / "two")


SLURM_STEP = {
    "SLURM_JOB_ID": str(os.getpid()),  # the ports are chosen by it
    "SLURM_STEP_ID": "0",
    "SLURM_NODEID": "0",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_TASKS_PER_NODE": "2",
}


class Job:
    """Two workers, started by hand as on two machines, or as srun starts two tasks."""

    def __init__(self, command, directory: Path, only_second=(), *, slurm: bool = False):
        addresses = [f"127.0.0.1:{port}" for port in find_ports(2)]
        others = [[], list(only_second)]
        self.outputs = [directory / f"worker{index}.txt" for index in (0, 1)]
        self.processes = []
        for index, path in enumerate(self.outputs):
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
            if slurm:
                environment |= {f"SLURM_{name}": str(index) for name in ("PROCID", "LOCALID")}
                environment |= SLURM_STEP
            else:
                environment["TF_CONFIG"] = make_tf_config(addresses, index)
            with open(path, "w") as file:
                options = {"stdout": file, "stderr": subprocess.STDOUT, "env": environment}
                self.processes.append(subprocess.Popen([*command, *others[index]], **options))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes:
            process.kill()
            process.wait()

    def text(self, index: int) -> str:
        return self.outputs[index].read_text()

    def wait_for(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + 300
        while self.text(0).count(text) < count:
            assert all(p.poll() is None for p in self.processes), self.text(0) + self.text(1)
            assert time.monotonic() < deadline, self.text(0) + self.text(1)
            time.sleep(0.1)


@pytest.mark.slow
def test_a_worker_dies_and_the_job_continues(command, tmp_path):
    directory = tmp_path / "run"
    endless = ["--run", str(directory), "--kimg", "1000", "--set", "output.checkpoint_minutes=0"]
    endless += ["training.path_length_weight=0", "output.tick_kimg=0.016"]
    # A StyleGAN2, which has empty variables; TensorFlow crashes where it exchanges one.
    endless += ["generator.attention=none", "generator.components=1", "generator.latent_size=8"]
    with Job([*command, *endless], tmp_path) as job:
        job.wait_for("tick 2")
        job.processes[1].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert job.processes[0].wait(timeout=LOST_S) == 2
        assert time.monotonic() - killed < LOST_S
        (line,) = [line for line in job.text(0).splitlines() if line.startswith("error:")]
        assert "worker 0" in line and "lost the others" in line and "to continue" in line
        assert "Traceback" not in job.text(0)
    shown = int(list_checkpoints(directory)[-1].name)
    assert shown >= 24
    with Job([*command, *endless], tmp_path) as job:
        job.wait_for(f"resuming from {directory}/checkpoints/{shown:010d}")
        job.wait_for("tick ", 2)
        job.processes[1].send_signal(signal.SIGTERM)  # notice of preemption, not to the chief
        statuses = [process.wait(timeout=120) for process in job.processes]
        assert statuses == [STOPPED, STOPPED], job.text(0)
        assert "run the same command to continue" in job.text(0)
    lines = [json.loads(line) for line in (directory / "stats.jsonl").read_text().splitlines()]
    assert [line["tick"] for line in lines] == list(range(len(lines)))
    last = list_checkpoints(directory)[-1]
    stopped = json.loads((last / "checkpoint.json").read_text())["images_shown"]
    assert f"stopped at {stopped / 1000:.2f} kimg" in job.text(0)


@pytest.mark.slow
def test_workers_with_different_configurations_end_before_the_first_step(command, tmp_path):
    with Job([*command, "--run", str(tmp_path / "run")], tmp_path, ["--seed", "5"]) as job:
        assert [process.wait(timeout=120) for process in job.processes] == [2, 2]
        for index in (0, 1):
            assert "configuration or data set of worker 1" in job.text(index)
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.slow
def test_tasks_of_slurm_stop_before_the_time_limit_and_go_on_when_requeued(command, tmp_path):
    command = [*command, "--run", str(tmp_path / "run"), "--cluster", "slurm", "--set"]
    command += [*SMOOTH, "output.tick_kimg=0.016"]
    with Job(command, tmp_path, slurm=True) as job:
        job.wait_for("tick 1")
        for process in job.processes:  # as #SBATCH --signal=USR1@120 does
            process.send_signal(signal.SIGUSR1)
        assert [process.wait(timeout=120) for process in job.processes] == [STOPPED, STOPPED]
    with Job(command, tmp_path, slurm=True) as job:
        assert [process.wait(timeout=300) for process in job.processes] == [0, 0], job.text(0)
        assert f"resuming from {tmp_path}/run/checkpoints" in job.text(0)
        assert "on 2 device(s)" in job.text(0) and "finished 0.16 kimg" in job.text(0)
    one = ["training.batch_per_device=8", "--run", str(tmp_path / "one")]
    run([*command[: command.index("--run")], "--set", *SMOOTH, "output.tick_kimg=0.016", *one])
    assert_same_weights(read_state(tmp_path / "one"), read_state(tmp_path / "run"))
