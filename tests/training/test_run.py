"""Runs: what they write, how they stop, and that a stopped run loses nothing."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import gansformer
from dnnlib.cli import run as run_program
from dnnlib.errors import UserError
from dnnlib.signals import STOPPED
from gansformer.snapshot import list_snapshots, name_by_images
from scripts.prepare_data import main as prepare_data
from scripts.train import main as train
from tests.golden_files import ROOT
from tests.training.runs import assert_same_run, assert_same_state, read_state, read_stats
from training.config import load_config
from training.loop import train as train_in_python
from training.run.checkpoint import list_checkpoints, newest_checkpoint


@pytest.fixture(scope="module")
def places(tiny_config, small_data):
    """The command line of a duplex GANformer at 8x8, without --run."""
    arguments = ["--config", str(tiny_config), "--data", str(small_data)]
    return [*arguments, "--set", "data.resolution=8", "training.batch_per_device=8"]


@pytest.fixture(scope="module")
def whole_run(places, tmp_path_factory):
    """A run from beginning to end without interruption."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train([*places, "--run", str(run)])
    return run


@pytest.fixture
def arguments(places, tmp_path):
    """The command line of the same run in `tmp_path/run`."""
    return [*places, "--run", str(tmp_path / "run")]


def test_what_a_run_writes(whole_run):
    names = {path.name for path in whole_run.iterdir()}
    assert names >= {"config.yaml", "log.txt", "stats.jsonl", "tensorboard", "samples", "snapshots"}
    assert {p.name for p in (whole_run / "samples").iterdir()} >= {
        "reals.png",
        "fakes-init.png",
        "fakes-init-attention.png",
        "fakes-000000.024.png",
        "fakes-000000.048.png",
    }
    assert Image.open(whole_run / "samples" / "reals.png").size == (32, 16)
    stats = read_stats(whole_run)
    assert [line["nimg"] for line in stats] == [8, 16, 32, 48]
    assert [line["tick"] for line in stats] == [0, 1, 2, 3]
    for line in stats:
        values = [value for name, value in line.items() if "/" in name]
        assert np.isfinite(values).all()
    assert {"loss/generator", "loss/discriminator", "loss/regularizer", "loss/path_length"} <= set(
        stats[0]
    )


def test_training_changes_all_networks(whole_run):
    from gansformer.variables import variables_by_name
    from training.config import load_config
    from training.state import TrainState

    config = load_config(str(whole_run / "config.yaml"))
    initial = TrainState(config, channels=3, label_dim=0)
    state = read_state(whole_run)
    for prefix, network in initial.networks().items():
        weight = next(n for n in variables_by_name(network) if n.endswith("8x8/Conv1/weight")
                      or n == "8x8/Conv0/weight")  # fmt: skip
        moved = np.abs(state[f"{prefix}/{weight}"] - variables_by_name(network)[weight]).max()
        assert moved > 1e-5, prefix
    assert state["images_shown"] == 48
    assert state["generator_optimizer/step"] == 6 + 2  # main steps, and two of the path length


@pytest.mark.slow
def test_stopped_and_resumed_run_is_the_same(whole_run, arguments, tmp_path, capsys):
    train([*arguments, "--kimg", "0.024"])  # three minibatches, in the middle of a tick
    train(arguments)
    assert "resuming from" in capsys.readouterr().out
    stats = read_stats(tmp_path / "run")
    # The shorter run ended with a tick and grids of its own; all else is as in the whole run.
    assert [line["nimg"] for line in stats] == [8, 16, 24, 32, 48]
    assert stats[-1] == read_stats(whole_run)[-1] | {"tick": 4}
    assert_same_state(whole_run, tmp_path / "run")


def start(arguments):
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_DFL
        ),  # even if we are under nohup
    )


def wait_for_line(process, beginning):
    for line in process.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"the program ended ({process.wait()}) before it wrote {beginning!r}")


@pytest.mark.slow
def test_kill_and_continue(whole_run, arguments, tmp_path, capsys):
    """kill -9 in the middle, then the same command: the same bytes as an uninterrupted run."""
    status = 0
    while status == 0:  # on a busy machine it may end before it is killed
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        process = start([*arguments, "--set", "output.checkpoint_minutes=0"])
        wait_for_line(process, "tick 1")
        process.send_signal(signal.SIGKILL)
        status = process.wait()
    assert status == -signal.SIGKILL and list_checkpoints(tmp_path / "run")
    train(arguments)
    assert "resuming from" in capsys.readouterr().out
    assert_same_run(whole_run, tmp_path / "run")


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGUSR1]
    + [pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP)],
)
def test_a_signal_saves_and_the_status_says_so(small_arguments, tmp_path, number):
    process = start([*small_arguments, "--kimg", "1000"])
    wait_for_line(process, "tick 0")
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == STOPPED == os.EX_TEMPFAIL, output
    assert "run the same command to continue" in output and "Traceback" not in output
    shown = int(newest_checkpoint(tmp_path / "run").name)
    assert shown > 0
    assert name_by_images(shown) in os.listdir(tmp_path / "run" / "snapshots")


def test_a_finished_run_ends_with_0(small_arguments, tmp_path):
    """Its lines name no nan, though no regulariser ran in some ticks, and all snapshots stay."""
    every = ["output.tick_kimg=0.001", "output.snapshot_kimg=0.004", "output.grid_kimg=0.004"]
    every += ["training.regularizer_interval=2", "output.keep_snapshots=2"]
    process = start([*small_arguments, "--kimg", "0.016", "--set", *every])
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "tick 3" in output and "nan" not in output and " reg       -" in output
    run = tmp_path / "run"
    assert list(list_snapshots(run / "snapshots").values()) == [12, 16]
    grids = {f"fakes-000000.{n:03d}.png" for n in (4, 8, 12, 16)}
    assert grids <= set(os.listdir(run / "samples"))
    assert gansformer.load(run).kimg == 0.016


def test_train_takes_texts_in_a_thread(small_config, small_data, tmp_path):
    """As a notebook calls it; TensorFlow has worked already."""
    assert float(tf.add(1.0, 1.0)) == 2
    options = {"data": str(small_data), "run": str(tmp_path / "run")}
    with ThreadPoolExecutor(1) as pool:
        config = load_config(small_config, ["training.kimg=0.004"])
        assert pool.submit(train_in_python, config, **options).result() is True
    with pytest.raises(UserError, match='did you mean "demo"'):
        train_in_python("demoo", **options)
    with pytest.raises(UserError, match="no images of resolution 64"):  # of one in configs/
        train_in_python("demo", **options)
    wrong = dataclasses.replace(config.output, tick_kimg=0)
    with pytest.raises(UserError, match="option output.tick_kimg 0"):
        train_in_python(dataclasses.replace(config, output=wrong), **options)


def test_metrics_that_do_not_exist_are_told_at_the_start(small_arguments, tmp_path, capsys):
    arguments = [*small_arguments, "--set", "evaluation.metrics=fif10k"]
    assert run_program(train, arguments) == 2
    assert "fif10k" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_one_image(small_config, tmp_path, capsys):
    data = tmp_path / "data"
    prepare_data(["demo", "--out", str(data), "--resolution", "8", "--max-images", "1"])
    config = load_config(small_config, ["training.kimg=0"])
    assert train_in_python(config, data=data, run=tmp_path / "run")
    assert "warning: this data set has one image" in capsys.readouterr().out


def test_damaged_checkpoint_is_named_and_the_one_before_taken(whole_run, tmp_path, capsys):
    run = tmp_path / "copy"
    shutil.copytree(whole_run, run)
    checkpoints = list_checkpoints(run)
    assert len(checkpoints) == 2
    state = checkpoints[-1] / "state.npz"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    assert newest_checkpoint(run) == checkpoints[0]
    assert f"{checkpoints[-1]} is damaged (its checksum is wrong)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "extra, message",
    [
        (["--config", "demoo"], 'did you mean "demo"'),
        (["--set", "training.gama=1"], 'did you mean "gamma"'),
        (["--set", "generator.latent_size=30"], "does not divide into 4 components; try 28"),
        (["--set", "generator.heads=3"], "heads=3: attention of width 8 does not divide"),
        (["--set", "training.batch_size=9"], "does not divide into training.batch_per_device=8"),
        (["--set", "data.resolution=64"], "no images of resolution 64, only 8"),
        (["--set", "data.labels=true"], "has no labels"),
        (["--data", "/nowhere"], "no such data directory"),
        (["--run", "/proc/run"], "choose another --run"),
        (["--resume", "/nowhere"], "neither a checkpoint nor a run"),
        (["--devices", "tpu"], "use auto, cpu, cpu:N"),
        (["--precision", "float8"], "invalid choice: 'float8'"),
        (["--kmig", "3"], "--kmig"),
        (["--resume", "/x", "--init-from", "y"], "--init-from has no effect where --resume"),
    ],
)
def test_bad_input_gets_one_line(arguments, extra, message, capsys):
    assert run_program(train, [*arguments, *extra]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0]


def test_existing_runs_are_not_overwritten(whole_run, places, capsys):
    same = [*places, "--run", str(whole_run)]
    assert run_program(train, [*same, "--resume", "never"]) == 2
    assert "choose another --run" in capsys.readouterr().err
    assert run_program(train, [*same, "--set", "generator.channel_max=8"]) == 2
    assert "was started with generator.channel_max=16, not 8" in capsys.readouterr().err


def test_resume_from_a_checkpoint_of_another_shape(whole_run, arguments, capsys):
    other = [*arguments, "--resume", str(whole_run), "--set", "generator.channel_max=8"]
    assert run_program(train, other) == 2
    assert "use the configuration it was made with" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(small_arguments, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "stats.jsonl").symlink_to("/dev/full")
    assert run_program(train, small_arguments) == 2
    assert "the disk is full" in capsys.readouterr().err


def test_dry_run_writes_nothing(arguments, tmp_path, capsys):
    train([*arguments, "--dry-run"])
    out = capsys.readouterr().out
    assert "latent_size: 32" in out and "G_synthesis/8x8/Conv1" in out and "activations" in out
    assert not (tmp_path / "run").exists()


def test_step_time_is_reported(whole_run):
    line = json.loads((whole_run / "stats.jsonl").read_text().splitlines()[-1])
    assert line["timing/img_per_sec"] == pytest.approx(1000 / line["timing/sec_per_kimg"])
    assert 0.1 < line["resources/peak_memory_gb"] < 24
