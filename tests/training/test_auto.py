"""training.preset auto: its formulas, what wins, and that a run keeps what was chosen."""

import itertools

import pytest

from dnnlib.config import flatten, read_yaml, to_mapping
from dnnlib.errors import UserError
from scripts.train import main as train
from tests.golden_files import ROOT
from training import auto
from training.auto import choose
from training.batch_size import check_batch
from training.config import load_config
from training.run.directory import write_config

DUPLEX = ["generator.attention=duplex"]
TINY = [
    "generator.channel_base=64",
    "discriminator.channel_base=64",
    "discriminator.kind=stylegan2",
]
TINY += ["output.grid_rows=1", "output.grid_columns=4"]


@pytest.fixture(autouse=True)
def without_pretrained_network(monkeypatch):
    monkeypatch.setattr(auto, "is_here", lambda name: False)


@pytest.mark.parametrize(
    "resolution, devices, batch, gamma, learning_rate, channels",
    [
        (128, 1, 32, 0.1024, 0.0025, 16384),
        (256, 8, 64, 0.2048, 0.0025, 16384),
        (512, 8, 64, 0.8192, 0.0025, 32768),
        (1024, 8, 32, 6.5536, 0.002, 32768),
    ],
)
def test_on_gpus(resolution, devices, batch, gamma, learning_rate, channels):
    """Karras et al. (2020a), appendix C: gamma = 0.0002 N / M; and the batches of their runs."""
    chosen = choose(resolution, 50_000, gpu=True, devices=devices, batch=None, heads=False)
    assert chosen["training.batch_size"] == batch
    assert chosen["training.gamma"] == pytest.approx(gamma)
    assert chosen["training.generator_lr"] == chosen["training.discriminator_lr"] == learning_rate
    assert chosen["generator.channel_base"] == chosen["discriminator.channel_base"] == channels
    assert "training.augmentation.mode" not in chosen
    chosen = choose(resolution, 5_000, gpu=True, devices=devices, batch=None, heads=False)
    assert chosen["training.augmentation.mode"] == "ada"


def test_on_a_cpu_it_has_the_settings_of_the_demo(monkeypatch):
    """Which were found by experiment at 64x64."""
    monkeypatch.setattr(auto, "is_here", lambda name: True)
    ours = flatten(to_mapping(load_config("auto", [*DUPLEX, "data.resolution=64"])))
    demo = flatten(read_yaml(ROOT / "configs" / "demo.yaml"))
    others = {"training.kimg", "training.gamma", "training.ema_kimg"}
    compared = [name for name in demo if not name.startswith("output.") and name not in others]
    assert {name: ours[name] for name in compared} == {name: demo[name] for name in compared}
    assert ours["training.gamma"] == pytest.approx(demo["training.gamma"], rel=0.03)


def test_what_is_set_wins_and_what_depends_on_it_follows(capsys):
    changes = ["data.resolution=128", "training.batch_size=16", "generator.channel_max=99"]
    config = load_config("auto", changes)
    assert config.training.batch_size == 16 and config.generator.channel_max == 99
    assert config.training.gamma == pytest.approx(0.0005 * 128**2 / 16)
    assert config.training.ema_kimg == 5
    printed = capsys.readouterr().out
    assert "training.gamma=0.512" in printed and "batch_size" not in printed


def test_any_number_of_devices_can_share_the_batch():
    for resolution, devices in itertools.product((32, 256, 1024), range(1, 10)):
        check_batch(
            load_config("auto", [f"data.resolution={resolution}"], devices=devices), devices
        )


@pytest.mark.parametrize(
    "change, message",
    [
        ("training.augmentation=3", "training.augmentation: expected a mapping"),
        ("training.batch_size=none", "training.batch_size: expected int"),
        ("generator=3", "generator: expected a mapping"),
        ("training.gama=3", 'unknown option "training.gama"; did you mean "gamma"'),
    ],
)
def test_wrong_options_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        load_config("auto", [change])


def test_a_run_keeps_what_was_chosen(small_data, tmp_path):
    """Also where other settings would be chosen for a new one."""
    load = lambda **more: load_config("auto", [*TINY, *DUPLEX], data=small_data, **more)  # noqa: E731
    config = load(run=tmp_path)
    assert config.data.resolution == 8 and config.training.batch_size == 4
    write_config(tmp_path, config)
    assert load(devices=3).training.batch_size == 3
    assert load(devices=3, run=tmp_path) == config
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.slow
def test_the_same_command_continues_a_run(small_data, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["--config", "auto", "--data", str(small_data), "--run", str(run)]
    for kimg in ("0.008", "0.016"):
        train([*arguments, "--kimg", kimg, "--set", *TINY, *DUPLEX])
    output = capsys.readouterr().out
    assert "training.preset=auto: data.resolution=8" in output
    assert [line for line in output.splitlines() if "changed since" in line] == [
        "changed since the run was started: training.kimg was 0.008, is now 0.016"
    ]
    assert "resuming from" in output and "finished 0.02 kimg" in output
