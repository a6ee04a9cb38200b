"""Official pickles from the command line: converted, and sampled from as they are."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import gansformer
from dnnlib.cli import run
from scripts.convert_checkpoint import main as convert
from scripts.generate import main as generate
from tests.dnnlib.official_files import official_modules  # noqa: F401 (a fixture)
from tests.gansformer.test_official_checkpoints import (
    STYLEGAN2,
    as_official,
    latents,
    make_generator,
    save,
)
from tests.golden_files import GOLDEN, ROOT

DUPLEX = GOLDEN / "pkl" / "duplex.pkl"


def test_converted_checkpoint_loads_without_the_pickle(tmp_path, capsys):
    convert([str(DUPLEX), "--out", str(tmp_path / "snapshot")])
    printed = capsys.readouterr().out
    for name in ("G", "D", "Gs"):
        assert f"{name}: " in printed and "variables fit" in printed
    original, converted = gansformer.load(DUPLEX), gansformer.load(tmp_path / "snapshot")
    assert converted.config == original.config
    assert converted.details == {"source": "duplex.pkl", "psi": 0.75, "ratio": 1.0}
    for name in ("G", "D", "Gs"):
        networks = getattr(original, name), getattr(converted, name)
        for before, after in zip(*(network.variables for network in networks), strict=True):
            np.testing.assert_array_equal(before, after)
    z = latents(original.Gs)
    pictures = [snapshot.Gs(z, seed=3).images for snapshot in (original, converted)]
    np.testing.assert_array_equal(*pictures)


def test_sampling_only(tmp_path, capsys):
    out = tmp_path / "small"
    convert([str(DUPLEX), "--out", str(out), "--networks", "Gs", "--half", "--ratio", "0.5"])
    converted = gansformer.load(out)
    assert converted.G is None and converted.D is None
    generate(["--model", str(out), "--out", str(tmp_path / "p"), "--num", "1"])
    assert Image.open(tmp_path / "p" / "seed000000.png").size == (16, 8)


def test_names_of_variables_that_do_not_fit(tmp_path, official_modules, capsys):  # noqa: F811
    wrong = as_official(
        make_generator(STYLEGAN2),
        "Gs",
        "Generator",
        STYLEGAN2,
        without=("G_synthesis/8x8/Conv1/bias", "G_synthesis/noise5"),
        add=[("surplus", np.zeros(3, np.float32))],
    )
    save(tmp_path / "x.pkl", wrong)
    status = run(convert, [str(tmp_path / "x.pkl"), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert status == 2 and not (tmp_path / "out").exists()
    assert "  Gs/surplus: belongs to no part of this network" in printed.out
    assert "  Gs/G_synthesis/8x8/Conv1/bias: is missing" in printed.out
    assert "without effect: G_synthesis/noise5" in printed.out
    assert "2 variables do not fit" in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "source, arguments, message",
    [
        ("none.pkl", [], "no such file"),
        ("torch.pkl", [], "not a binary pickle"),
        ("cut.pkl", [], "cut.pkl: "),
        (str(DUPLEX), ["--networks", "H"], "invalid choice: 'H'"),
        (str(DUPLEX), ["--outt", "x"], "did you mean"),
    ],
)
def test_bad_input_ends_in_one_line(source, arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torch.pkl").write_bytes(b"not a pickle at all")
    (tmp_path / "cut.pkl").write_bytes(DUPLEX.read_bytes()[:5000])
    status = run(convert, [source, "--out", "out", *arguments])
    error = capsys.readouterr().err
    assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "precious").write_text("x")
    assert run(convert, [str(DUPLEX), "--out", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "x"


def test_generate_from_a_pickle(tmp_path):
    """As a user does it, in a process of its own; TensorFlow 1 is nowhere near."""
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), "--model", str(DUPLEX)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path), "--seeds", "3,5", "--attention", "--devices", "cpu"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "wrote 2 images" in done.stdout
    for seed in (3, 5):
        assert Image.open(tmp_path / f"seed{seed:06d}.png").size == (16, 16)
    assert (tmp_path / "attention.png").is_file()


def test_generate_refuses_a_malicious_pickle(tmp_path, capsys):
    class Malice:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'was-here')!r}, 'w')",)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps((Malice(), None, None)))
    arguments = ["--model", str(tmp_path / "x.pkl"), "--out", str(tmp_path / "p")]
    assert run(generate, arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "was-here").exists()


def test_published_models_bring_their_ratio(tmp_path, monkeypatch):
    """The file of a catalogued model, here one of the golden files under its name."""
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "clevr-256.pkl").write_bytes(DUPLEX.read_bytes())
    assert gansformer.load("clevr-256").details["ratio"] == 0.75
    convert(["clevr-256", "--out", str(tmp_path / "snapshot")])
    assert gansformer.load(tmp_path / "snapshot").details["ratio"] == 0.75


def test_snapshot_of_ours_made_small(tmp_path):
    convert([str(DUPLEX), "--out", str(tmp_path / "whole")])
    convert([
        str(tmp_path / "whole"), "--out", str(tmp_path / "small"), "--networks", "Gs", "--half"
    ])  # fmt: skip
    whole, small = gansformer.load(tmp_path / "whole"), gansformer.load(tmp_path / "small")
    assert small.G is None and small.D is None and small.details == whole.details
    for before, after in zip(whole.Gs.variables, small.Gs.variables, strict=True):
        np.testing.assert_array_equal(np.float16(before), after)
    assert (
        run(convert, [str(tmp_path / "small"), "--out", str(tmp_path / "d"), "--networks", "D"])
        == 2
    )
