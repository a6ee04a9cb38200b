"""docs/gallery.md: its images are there and small, and its commands are ones."""

import importlib
import json
import re
import shlex

import pytest
from PIL import Image

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
