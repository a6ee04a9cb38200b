"""Who the workers are in a job step of Slurm."""

import json

import pytest

from dnnlib.cli import run
from dnnlib.errors import UserError
from dnnlib.slurm import expand_counts, expand_hosts, make_slurm_config
from scripts.train import main

# What `scontrol show hostnames` of Slurm 22.05 answers.
HOSTS = {
    "node7": "node7",
    "lx[1-3]": "lx1 lx2 lx3",
    "lx[15,18,32-33]": "lx15 lx18 lx32 lx33",
    "linux[00-03]": "linux00 linux01 linux02 linux03",
    "n[8-11]": "n8 n9 n10 n11",
    "n[098-101]": "n098 n099 n100 n101",
    "rack[0-1]-node[1-2]": "rack0-node1 rack0-node2 rack1-node1 rack1-node2",
    "edge,mynode-[1-2],e-5": "edge mynode-1 mynode-2 e-5",
}


@pytest.mark.parametrize("text", HOSTS)
def test_lists_of_hosts(text):
    assert expand_hosts(text) == HOSTS[text].split()


@pytest.mark.parametrize("text", ["n[1-2", "n1]", "n[a-b]", "n[]", "n[1-2-3]"])
def test_what_is_no_list_of_hosts(text):
    with pytest.raises(ValueError):
        expand_hosts(text)


def test_numbers_of_tasks():
    assert expand_counts("2(x3),1") == [2, 2, 2, 1] and expand_counts("4") == [4]
    with pytest.raises(ValueError):
        expand_counts("2x3")


STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
}
PLACES = [(0, 0), (0, 1), (1, 0)]


def task(index: int, **changed: str) -> dict[str, str]:
    node, local = PLACES[index]
    own = {"SLURM_PROCID": index, "SLURM_NODEID": node, "SLURM_LOCALID": local}
    return {**STEP, **{name: str(value) for name, value in own.items()}, **changed}


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_tasks_are_workers():
    configs = [json.loads(make_slurm_config(task(index))) for index in range(3)]
    assert [config["task"]["index"] for config in configs] == [0, 1, 2]
    addresses = configs[0]["cluster"]["worker"]
    assert all(config["cluster"]["worker"] == addresses for config in configs)
    hosts, ports = zip(*(address.split(":") for address in addresses), strict=True)
    assert hosts == ("n1", "n1", "n2") and ports[0] != ports[1]
    assert all(1024 < int(port) < 32768 for port in ports)
    other = json.loads(make_slurm_config(task(0, SLURM_JOB_ID="4712")))["cluster"]["worker"]
    assert not set(addresses) & set(other)


def test_what_cannot_work_is_refused(monkeypatch, tmp_path, capsys):
    with pytest.raises(UserError, match="SLURM_PROCID is not set; start it with srun"):
        make_slurm_config({name: value for name, value in task(0).items() if "PROC" not in name})
    with pytest.raises(UserError, match="task 1 is number 0 of node 1.*--distribution=block"):
        make_slurm_config(task(1, SLURM_NODEID="1", SLURM_LOCALID="0"))
    for changed in ({"NODELIST": "n[1-"}, {"TASKS_PER_NODE": "2"}, {"TASKS_PER_NODE": "1,1"}):
        changed = {f"SLURM_STEP_{name}": value for name, value in changed.items()}
        with pytest.raises(UserError, match="make no sense"):
            make_slurm_config(task(2, **changed))
    monkeypatch.setattr("dnnlib.slurm.find_gpus", lambda: ["0", "1"])
    with pytest.raises(UserError, match="same GPUs; add --gpus-per-task=1"):
        make_slurm_config(task(0))
    make_slurm_config(task(0, SLURM_GPUS_PER_TASK="2"))
    make_slurm_config(task(2))
    for name in task(0):
        monkeypatch.delenv(name, raising=False)
    needed = ["--config", "x", "--data", str(tmp_path), "--run", str(tmp_path / "run")]
    assert run(main, [*needed, "--cluster", "slurm"]) == 2
    assert "start it with srun" in capsys.readouterr().err
