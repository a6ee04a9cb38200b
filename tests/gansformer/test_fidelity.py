"""docs/fidelity.md names options, configurations and anchors that exist."""

import dataclasses
import re

from tests.golden_files import ROOT
from training.config import RunConfig, load_config

PAGE = (ROOT / "docs" / "fidelity.md").read_text()
QUOTED = re.findall(r"`([^`\n]+)`", PAGE)


def has_option(path: str) -> bool:
    config = RunConfig()
    for name in path.split("."):
        if name not in {field.name for field in dataclasses.fields(config)}:
            return False
        config = getattr(config, name)
        if config is None and name == "merge":
            from gansformer.config import MergeConfig

            config = MergeConfig()
    return True


def test_options_exist():
    sections = tuple(f"{field.name}." for field in dataclasses.fields(RunConfig))
    options = {text.split("=")[0] for text in QUOTED if text.startswith(sections)}
    assert len(options) > 40
    assert [option for option in sorted(options) if not has_option(option)] == []


def test_values_and_configurations_exist():
    for text in QUOTED:
        if re.fullmatch(r"(generator|discriminator|training|data)\.[\w.]+=\w+", text):
            duplex = "duplex" in text and "attention" not in text
            load_config("cartoonset64-duplex" if duplex else "cartoonset64-stylegan2", [text])
        if re.fullmatch(r"[a-z]+\d+(x\d+)?(-[a-z0-9]+)*", text):
            assert (ROOT / "configs" / f"{text}.yaml").is_file(), text


def test_files_and_anchors_exist():
    for text in QUOTED:
        if re.fullmatch(r"(tests|gansformer|dnnlib|training)/[\w/]+\.py", text):
            assert (ROOT / text).is_file(), text
    headings = re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\s-]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= anchors
    for folder in ("gansformer", "training", "tests", "dnnlib"):
        for path in (ROOT / folder).rglob("*.py"):
            for anchor in re.findall(r"fidelity\.md#([\w-]+)", path.read_text()):
                assert anchor in anchors, f"{path}: {anchor}"
