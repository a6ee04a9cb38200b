"""docs/gallery.md: its images are there and small, and its commands are ones."""

import importlib
import importlib.util
import json
import re
import shlex

import pytest
from PIL import Image

from tests.gansformer.test_generation import save
from tests.golden_files import ROOT

PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
FOLDER = ROOT / "docs" / "gallery"
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).splitlines()


def test_images_are_there_and_small():
    names = re.findall(r"\(gallery/([\w.-]+)\)", PAGE)
    assert len(names) > 8
    for name in names:
        with Image.open(FOLDER / name) as image:
            image.load()
        assert (FOLDER / name).stat().st_size < 2e6
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 4e6


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("scripts/")])
def test_commands_are_understood(line):
    program, *arguments = shlex.split(line)
    module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
    module.make_parser().parse_args(arguments)


def test_what_lies_beside_an_image_is_the_command_of_the_page():
    for path in FOLDER.glob("*.png.json"):
        command = json.loads(path.read_text())["command"].replace("'", "")
        assert any(command in line for line in COMMANDS), command


def test_images_and_numbers_are_made_anew(tmp_path, monkeypatch):
    """With a small page, of a small network: blocks with --only, and no others, are replaced."""
    spec = importlib.util.spec_from_file_location("gallery_make", FOLDER / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    model = save(tmp_path / "model")
    page, before = tmp_path / "gallery.md", "```text\nas before\n```\n"
    components = "scripts/visualize.py components --out gallery --seeds 1"
    page.write_text(
        f"```sh\nscripts/generate.py --model {model} --out images --grid --num 2\n```\n"
        f"```sh\n{components} --model {model}\n```\n\n{before}"
        f"![x](gallery/components-seed000001.png)\n```sh\n{components} --model RUN\n```\n\n{before}"
    )
    for name, value in (("PAGE", page), ("FOLDER", tmp_path), ("SHIPPED", tmp_path / "s.png")):
        monkeypatch.setattr(make, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    make.main(["--only", model])
    changed = page.read_text()
    assert changed.count(before) == 1 and changed.endswith(before)
    (printed,) = re.findall(r"```text\n(corr.*)\n```", changed)
    facts = json.loads((tmp_path / "components-seed000001.png.json").read_text())["measured"]
    assert f"over 1 images: {facts['correlation']:.3f} +- 0.000" in printed
    for name in ("s.png", "components-seed000001.png"):
        with Image.open(tmp_path / name) as image:
            image.load()
