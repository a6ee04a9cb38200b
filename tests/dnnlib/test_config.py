"""Configurations from mappings: old names of options go on working."""

import dataclasses
from typing import ClassVar

import pytest

from dnnlib.config import from_mapping, set_option, to_mapping
from dnnlib.errors import UserError


@dataclasses.dataclass(frozen=True)
class Inner:
    component_gate: bool = False
    RENAMED: ClassVar[dict[str, str]] = {"latent_gate": "component_gate"}


@dataclasses.dataclass(frozen=True)
class Outer:
    generator: Inner = Inner()


def test_old_name_sets_the_new_option_and_is_mentioned_once(capsys):
    for _ in range(2):
        config = from_mapping(Outer, {"generator": {"latent_gate": True}})
        assert config.generator.component_gate
        assert to_mapping(config) == {"generator": {"component_gate": True}}
    assert capsys.readouterr().err == (
        "note: option generator.latent_gate is now called generator.component_gate\n"
    )


def test_old_and_new_name_together_are_an_error():
    with pytest.raises(UserError, match="latent_gate is the old name of generator.component_gate"):
        from_mapping(Outer, {"generator": {"latent_gate": True, "component_gate": False}})


@pytest.mark.parametrize("given", ["latent_gate", "component_gate"])
@pytest.mark.parametrize("name", ["latent_gate", "component_gate"])
def test_an_assignment_replaces_a_value_under_either_name(given, name):
    data = {"generator": {given: False}}
    set_option(data, f"generator.{name}=true", Outer)
    assert from_mapping(Outer, data).generator.component_gate
