"""What is said about NVIDIA's driver and libraries: the causes of a missing GPU, told apart."""

import pytest

from dnnlib import nvidia
from dnnlib.nvidia import find_gpus, library_versions, why_no_gpu

VERSIONS = library_versions("12.5.1", "9")


def test_versions_of_libraries():
    """The names that TensorFlow 2.21, built with CUDA 12.5 and cuDNN 9, opens."""
    assert {f"{name}.so.{number}" for name, number in VERSIONS.items()} == {
        "libcudart.so.12",
        "libcublas.so.12",
        "libcublasLt.so.12",
        "libcufft.so.11",
        "libcusolver.so.11",
        "libcusparse.so.12",
        "libcudnn.so.9",
        "libnvidia-ml.so.1",
    }


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine on which only the libraries in the returned list can be opened."""
    there = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvidia, "_opens", lambda library: library in there)
    monkeypatch.setattr(nvidia, "_pip_folder", lambda: tmp_path)
    monkeypatch.setattr(nvidia, "DRIVER_FOLDER", tmp_path / "gpus")
    monkeypatch.setattr(nvidia, "_nvidia_smi", lambda: "")
    return there


def test_three_causes(machine, monkeypatch):
    assert "no NVIDIA driver" in why_no_gpu(VERSIONS)
    machine += ["libcuda.so.1", "libcudart.so.12", "libnvidia-ml.so.1", "libcufft.so.11"]
    reason = why_no_gpu(VERSIONS)
    assert "cannot open libcublas.so.12, libcublasLt.so.12, libcusolver.so.11" in reason
    assert "libcudart" not in reason and "libcufft" not in reason
    assert "pip install 'tensorflow[and-cuda]'" in reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' hides the GPUs" in why_no_gpu(VERSIONS)


def test_libraries_that_pip_installed_are_found(machine, tmp_path):
    machine.append("libcuda.so.1")
    for name, version in VERSIONS.items():
        folder = tmp_path / name / "lib"
        folder.mkdir(parents=True)
        (folder / f"{name}.so.{version}").touch()
        machine.append(str(folder / f"{name}.so.{version}"))
    assert "all of CUDA's libraries" in why_no_gpu(VERSIONS)
    machine.pop()
    assert "libnvidia-ml.so.1" in why_no_gpu(VERSIONS)


def test_gpus_are_found_without_a_folder_in_proc(machine, tmp_path, monkeypatch):
    """Under WSL2 nvidia-smi lists them."""
    listed = "GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)\nGPU 1: NVIDIA T4 (UUID: GPU-2)\n"
    assert find_gpus() == []
    monkeypatch.setattr(nvidia, "_nvidia_smi", lambda: listed)
    assert find_gpus() == ["0", "1"]
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    assert find_gpus() == ["0", "1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,-1")
    assert find_gpus() == ["1"]
