"""Programs on fake GPUs (../shared/gpu/fake): placement, crashes, launches, copies; no numbers."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from dnnlib.config import to_mapping
from dnnlib.errors import UserError
from dnnlib.ops.nvrtc import Nvcc, Nvrtc
from scripts.prepare_data import main as prepare_data
from tests.golden_files import ROOT
from training.config import load_config
from training.memory_trial import OUT_OF_MEMORY

FAKE_GPUS = ROOT.parent / "shared" / "gpu" / "fake" / "fake-gpus"


def compiles_with_nvcc() -> bool:
    """Whether nvcc makes the kernels: NVRTC crashes where the driver is the fake one."""
    try:
        Nvrtc()
        return False
    except UserError:
        pass
    try:
        Nvcc()
    except UserError:
        return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FAKE_GPUS.exists() and shutil.which("gcc") and compiles_with_nvcc()),
        reason="needs ../shared/gpu, gcc, and nvcc without NVRTC",
    ),
]


def run(*arguments: str, gpus: int = 1, options: tuple[str, ...] = ()) -> str:
    """Run a Python program with fake GPUs, and return what it prints; it must succeed."""
    result = start(*arguments, gpus=gpus, options=options)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


def start(
    *arguments: str, gpus: int = 1, options: tuple[str, ...] = (), **more
) -> subprocess.CompletedProcess:
    """Run a Python program with fake GPUs."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    command = [str(FAKE_GPUS), *options, str(gpus), sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, **more
    )


def test_two_are_registered():
    assert run("scripts/doctor.py", gpus=2).count("device_name Fake H100") == 2


def test_a_driver_without_libraries_is_told():
    (line,) = [
        line
        for line in run("scripts/doctor.py", options=("--driver-only",)).splitlines()
        if line.startswith("GPU ")
    ]
    assert "libcudnn.so.9" in line and "pip install 'tensorflow[and-cuda]'" in line


@pytest.mark.parametrize("ops", ["auto", "reference"])
@pytest.mark.parametrize("gpus", [1, 2])
def test_training(tmp_path, monkeypatch, gpus, ops):
    """With one GPU it may use no operation that gives other bits each time."""
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1" if gpus == 1 else "0")
    data = tmp_path / "data"
    prepare_data(["demo", "--out", str(data), "--resolution", "64", "--max-images", "50"])
    options = ["--config", "demo", "--data", data, "--run", tmp_path / "run", "--ops", ops]
    size = "auto" if ops == "auto" else 8 // gpus
    sizes = ["training.batch_size=8", f"training.batch_per_device={size}"]
    out = run("scripts/train.py", *options, "--kimg", "0.008", "--set", *sizes, gpus=gpus)
    assert f"on {gpus} device(s) ({gpus} x Fake H100)" in out and "finished 0.01 kimg" in out
    assert f"batch 8 as 1 x {8 // gpus} on" in out


# A trial on GPUs whose memory ends at 300 MB.
TRIAL = """
import sys
import tensorflow as tf
from training import memory_trial
limit = tf.config.LogicalDeviceConfiguration(memory_limit=300)
for gpu in tf.config.list_physical_devices("GPU"):
    tf.config.set_logical_device_configuration(gpu, [limit])
tf.config.experimental.set_memory_growth = lambda *arguments: None  # goes with no limit
memory_trial.main()
"""


@pytest.mark.parametrize("batch, status", [(4, 0), (32, OUT_OF_MEMORY)])
def test_a_batch_that_does_not_fit_into_memory(batch, status):
    sizes = ["training.batch_size=32", f"training.batch_per_device={batch}"]
    channels = [f"{network}.channel_max=64" for network in ("generator", "discriminator")]
    config = load_config("cartoonset64-duplex", [*sizes, *channels])
    task = {
        "config": to_mapping(config),
        "computing": {},
        "data": {"channels": 3, "label_dim": 0},
    }
    result = start("-c", TRIAL, json.dumps(task), options=("--bfc",))
    assert result.returncode == status, result.stderr[-4000:]


def test_launches_and_copies(tmp_path):
    """Bounds a few percent above what was counted when they were written (docs/gpu.md)."""
    path = tmp_path / "counts.json"
    run("tests/gpu/count_launches.py", "--config", "cartoonset64-duplex", "--json", path)
    counts = json.loads(path.read_text())
    bounds = {"generator": 1100, "discriminator": 585, "regularizer": 370, "average": 20}
    for name, bound in bounds.items():
        assert 0 < counts[name]["launches"] <= bound, (name, counts[name])
        assert counts[name]["to_host"] == 0, name  # nothing that the host would wait for
        assert counts[name]["to_device"] <= 10, name


def test_heads_on_pretrained_features_copy_nothing_to_the_host(tmp_path):
    path = tmp_path / "counts.json"
    heads = ["discriminator.kind=both", "discriminator.projected.resolution=128"]
    sizes = ["training.batch_size=8", "training.batch_per_device=8"]
    arguments = ["--config", "cartoonset64-duplex-cpu", "--json", path, "--set", *heads, *sizes]
    run("tests/gpu/count_launches.py", *arguments)
    counts = json.loads(path.read_text())
    assert [phase["to_host"] for phase in counts.values()] == [0, 0, 0, 0], counts
