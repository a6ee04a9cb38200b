"""Every number that a user can give has a range, which is checked before anything is written."""

import importlib
import os
import typing

import pytest
import yaml

from dnnlib.cli import run as run_program
from dnnlib.config import from_mapping
from dnnlib.errors import UserError
from dnnlib.numbers import FiniteNumber, WholeNumber
from gansformer.config import MergeConfig
from gansformer.generation import parse_seeds
from scripts.bench import main as bench
from scripts.generate import main as generate
from scripts.train import main as train
from tests.golden_files import ROOT
from training.config import RunConfig

PROGRAMS = ("train", "generate", "visualize", "explore", "bench", "convert_checkpoint", "launch")
HUGE = 10**30

# Of the numbers in a configuration, those that may be 0 or negative, and what it means.
ZERO = {
    "generator.attention_dropout": "none",
    "generator.component_dropout": "none",
    "generator.start_res": "from the lowest resolution",
    "generator.end_res": "no attention",
    "generator.image_to_image": "none",
    "generator.mapping.shared_dim": "none",
    "generator.mapping.label_embedding_dim": "none",
    "discriminator.attention_dropout": "none",
    "discriminator.start_res": "from the lowest resolution",
    "discriminator.end_res": "no attention",
    "discriminator.image_to_image": "none",
    "discriminator.stddev_group": "no such feature",
    "discriminator.label_mapping.layers": "the embedding alone",
    "training.kimg": "only what a run begins with",
    "training.seed": "a seed",
    "training.gamma": "no penalty",
    "training.feature_gamma": "no penalty",
    "training.path_length_weight": "no penalty",
    "training.path_length_decay": "the mean stays",
    "training.style_mixing": "never",
    "training.component_mixing": "never",
    "training.generator_lr": "stays",
    "training.discriminator_lr": "stays",
    "training.beta1": "no momentum",
    "training.beta2": "of the last gradient",
    "training.freeze_discriminator": "none",
    "training.augmentation.p": "never",
    "training.augmentation.target": "a mean sign",
    "output.checkpoint_minutes": "always",
    "output.keep_snapshot_every_kimg": "none",
    "output.keep_checkpoint_every_kimg": "none",
    "output.psi": "the average image",
}
NEGATIVE = {"training.augmentation.target": "a mean sign", "output.psi": "the opposite image"}


def numbers_of(cls, path="") -> dict[str, type]:
    """Return the type of each option that takes a number, by its whole name."""
    found = {}
    for name, hint in typing.get_type_hints(cls).items():
        for part in (hint, *typing.get_args(hint)):
            if part in (int, float):
                found[f"{path}{name}"] = part
            elif hasattr(part, "__dataclass_fields__"):
                found |= numbers_of(part, f"{path}{name}.")
    return found


NUMBERS = numbers_of(RunConfig)


def test_all_numbers_are_looked_at():
    assert len(NUMBERS) > 60 and ZERO.keys() <= NUMBERS.keys()
    assert {"generator.merge.layer", "training.clip", "generator.resample_kernel"} <= set(NUMBERS)
    assert numbers_of(MergeConfig) == {"layer": int}


def nested(name: str, value) -> dict:
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def is_accepted(name: str, value) -> bool:
    if name.endswith(("resample_kernel", "milestones_kimg")):
        value = [1, value]
    try:
        from_mapping(RunConfig, nested(name, value))
    except UserError as error:
        assert name.split(".")[-1] in str(error)
        return False
    return True


@pytest.mark.parametrize("name", NUMBERS)
def test_values_of_a_configuration(name):
    for value in (float("nan"), float("inf"), float("-inf"), HUGE, -HUGE, 1e300, "nan", "1e999"):
        assert not is_accepted(name, value), value
    if not name.endswith("resample_kernel"):
        assert is_accepted(name, 0) == (name in ZERO)
        assert is_accepted(name, -1) == (name in NEGATIVE)


@pytest.mark.parametrize("value", ["0", "-1", ".nan", "-.inf", str(HUGE), "9" * 5000])
@pytest.mark.parametrize("name", ["training.batch_size", "output.tick_kimg", "generator.heads"])
def test_nothing_is_written_before(small_arguments, tmp_path, capsys, name, value):
    assert run_program(train, [*small_arguments, "--set", f"{name}={value}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and name in said
    assert not (tmp_path / "run").exists()


def out_of_range(kind) -> list[str]:
    values = ["nan", "inf", "-inf", "many", "", "1e999", str(HUGE), str(-HUGE)]
    values += ["1.5"] if isinstance(kind, WholeNumber) else []
    values += [str(kind.low - 1)] if kind.low is not None else []
    return values + ([str(kind.above)] if getattr(kind, "above", None) is not None else [])


@pytest.mark.parametrize("program", PROGRAMS)
def test_options_of_the_programs(program):
    parser = importlib.import_module(f"scripts.{program}").make_parser()
    for action in parser._actions:
        assert action.type not in (int, float), f"{action.dest} has no range"
        if isinstance(action.type, (WholeNumber, FiniteNumber)):
            for value in out_of_range(action.type):
                option = [f"{action.option_strings[0]}={value}"] if action.option_strings else []
                with pytest.raises(UserError, match="use a "):
                    parser.parse_args(option or [value, "train.py"])


@pytest.mark.parametrize("text", ["5-2", "-1", "9" * 20, "9" * 500, "0-99999999", "1.5", "nan", ""])
def test_seeds(text):
    with pytest.raises(UserError, match="^--seeds"):
        parse_seeds(text)


def test_the_largest_seed_is_one():
    assert parse_seeds(f"{2**63 - 1}") == [2**63 - 1]


@pytest.mark.parametrize("kind", ["file", "below a file", "locked"])
def test_places_that_cannot_be_written(tmp_path, capsys, kind):
    """One line, before the model is read."""
    place = tmp_path / "place"
    if kind == "locked":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        place.mkdir(mode=0o500)
    else:
        place.write_text("mine")
    out = place if kind == "file" else place / "images"
    for program, options in (
        (generate, ["--model", "no model", "--out", str(out)]),
        (bench, ["--config", "no configuration", "--json", str(out / "figures.json")]),
    ):
        assert run_program(program, options) == 2
        said = capsys.readouterr().err
        assert str(place) in said and "choose another" in said and said.count("\n") == 1
    assert kind == "locked" or place.read_text() == "mine"


def test_what_is_meant_is_named(small_arguments, capsys):
    for given, meant in (
        ("gamma=1", '"training.gamma"'),
        ("heads=2", '"generator.heads" or "discriminator.heads"'),
        ("layers=2", '"generator.mapping.layers" or "discriminator.label_mapping.layers"'),
        ("training.gama=2", '"gamma"'),
    ):
        assert run_program(train, [*small_arguments, "--set", given]) == 2
        assert f"did you mean {meant}?" in capsys.readouterr().err


def test_configurations_that_come_along_are_in_range():
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        from_mapping(RunConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
