"""What bench.py counts and reports."""

import json
import multiprocessing
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import training.measure.sweep
from dnnlib.cli import run as run_program
from dnnlib.errors import UserError
from dnnlib.ops import count_multiply_adds
from gansformer.layers import Conv, Dense
from gansformer.variables import Scope
from scripts.bench import main as bench
from tests.golden_files import ROOT
from training.config import load_config
from training.measure.sweep import make_points


@pytest.mark.parametrize("resample, positions", [(None, 64), ("down", 16), ("up", 64)])
@pytest.mark.parametrize("inputs, outputs", [(5, 7), (16, 48)])
def test_convolution_counts(resample, positions, inputs, outputs):
    """Known shapes: positions x kernel x in x out; resampling filters do not count."""
    layer = Conv(Scope(0), inputs, outputs, 3, resample=resample, activation="lrelu")
    x = tf.zeros([2, 8, 8, inputs])
    assert count_multiply_adds(lambda: layer(x)) == 2 * positions * 9 * inputs * outputs


def test_product_counts():
    a, b = tf.zeros([2, 3, 4, 5]), tf.zeros([2, 3, 6, 5])
    assert count_multiply_adds(lambda: tf.matmul(a, b, transpose_b=True)) == 2 * 3 * 4 * 6 * 5
    assert count_multiply_adds(lambda: tf.einsum("abij,abkj->abik", a, b)) == 2 * 3 * 4 * 6 * 5
    dense = Dense(Scope(0), 5, 9)
    assert count_multiply_adds(lambda: dense(tf.zeros([4, 3, 5]))) == 4 * 3 * 5 * 9


def test_report(small_config, tmp_path, capsys):
    path = tmp_path / "bench.json"
    bench(["--config", str(small_config), "--rounds", "1", "--json", str(path)])
    report = json.loads(path.read_text())
    assert set(report) >= {
        "config", "precision", "ops", "devices", "batch", "matmul_gflops", "train", "sample",
        "peak_memory_gb",
    }  # fmt: skip
    for kind in ("train", "sample"):
        figures = report[kind]
        work = figures["img_per_sec"] * figures["gflop_per_img"]
        fraction = work / report["matmul_gflops"]["float32"]
        assert figures["fraction_of_matmul"] == pytest.approx(fraction)
        assert np.isfinite(fraction) and fraction > 0
    assert "img/s" in capsys.readouterr().out


@pytest.mark.slow
def test_two_devices(small_config, tmp_path):
    """In a process of its own: virtual devices are made once."""
    path = tmp_path / "bench.json"
    program = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--config", str(small_config)]
    options = ["--rounds", "1", "--what", "train", "--batch", "8", "--devices", "cpu:2"]
    subprocess.run([*program, *options, "--json", str(path)], check=True)
    report = json.loads(path.read_text())
    assert len(report["devices"]) == 2 and report["device_names"] == "CPU as 2 virtual devices"
    assert report["batch"] == 8 and report["train"]["img_per_sec"] > 0


def test_points_of_a_sweep():
    """Each changes one setting; a latent keeps its size, a network without attention its one."""
    configs = {name: load_config(f"cartoonset64-{name}-cpu") for name in ("stylegan2", "duplex")}
    points = list(make_points(configs, "components=4,32"))
    assert [setting for setting, _ in points] == [{"components": 4}, {"components": 32}]
    for k, (_, changed) in zip((4, 32), points, strict=True):
        generator = changed["duplex"].generator
        assert (generator.components, generator.latent_size, generator.z_dim) == (k, 32 * k, 32)
        assert changed["stylegan2"] == configs["stylegan2"]
    ((_, changed),) = make_points(configs, "resolution=128")
    assert changed["duplex"].data.resolution == 128
    ((_, changed),) = make_points(configs, "batch=4")
    training = changed["duplex"].training
    assert (training.batch_size, training.batch_per_device) == (4, 4)


@pytest.mark.parametrize(
    "sweep, message",
    [
        ("resolutions=32", "expected one of resolution, components, batch"),
        ("resolution=32,", "expected one of"),
        ("resolution=48", "use a power of two"),
        ("batch=6", "is not a multiple of discriminator.stddev_group=4"),
    ],
)
def test_bad_sweeps(sweep, message):
    with pytest.raises(UserError, match=message):
        make_points({"gan": load_config("cartoonset64-gan")}, sweep)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--what", "ops", "--batch", "4"], "--batch has no effect on --what ops"),
        (["--sweep", "batch=4,8", "--batch", "4"], "--batch has no effect with --sweep batch="),
    ],
)
def test_options_without_effect(small_config, options, message, capsys):
    assert run_program(bench, ["--config", str(small_config), *options]) == 2
    assert message in capsys.readouterr().err


class _Process:
    """Runs in a thread's place: answers as a process that dies in its second turn does."""

    def __init__(self, target, args):
        self.end = args[0]

    def start(self):
        self.end.send(None)

    def terminate(self): ...

    join = terminate


def test_a_process_that_ends_is_reported(monkeypatch):
    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=_Process)
    monkeypatch.setattr(training.measure.sweep.multiprocessing, "get_context", lambda kind: context)
    with pytest.raises(UserError, match="a process that measured small ended; .* smaller --batch"):
        training.measure.sweep.measure_in_processes({"small": None}, rounds=1)


@pytest.mark.slow
def test_sweep(small_config, tmp_path, capsys):
    """Two networks at two resolutions, each in a process of its own, and the figures of each."""
    path, other = tmp_path / "sweep.json", tmp_path / "other.yaml"
    other.write_text(small_config.read_text())
    options = ["--sweep", "resolution=8,64", "--what", "train", "--rounds", "1", "--set"]
    options += [f"{network}.channel_base=2048" for network in ("generator", "discriminator")]
    configs = ["--config", str(small_config), str(other)]
    assert run_program(bench, ["--json", str(path), *configs, *options]) == 0
    reports = json.loads(path.read_text())
    assert [report["resolution"] for report in reports] == [8, 8, 64, 64]
    assert [report["config"] for report in reports] == [str(small_config), str(other)] * 2
    small, _, large, _ = reports
    assert large["train"]["gflop_per_img"] > 10 * small["train"]["gflop_per_img"]
    assert all(0.2 < report["peak_memory_gb"] < 4 for report in reports)
    assert "resolution 64\n" in capsys.readouterr().out
