"""Options are checked: none is swallowed, none guessed."""

import dataclasses

import pytest

from dnnlib.config import from_mapping, to_mapping
from dnnlib.errors import UserError
from gansformer.config import GeneratorConfig, ModelConfig
from tests.golden_files import ROOT
from training.config import RunConfig, load_config


def all_options(cls, prefix=()):
    """Yield the path of every option, nested ones included."""
    for field in dataclasses.fields(cls):
        default = field.default
        if dataclasses.is_dataclass(default):
            yield from all_options(type(default), (*prefix, field.name))
        else:
            yield (*prefix, field.name)


@pytest.mark.parametrize("path", list(all_options(RunConfig)), ids=".".join)
def test_misspelt_option_is_an_error(path):
    *parents, name = path
    wrong = name[:-1] + "zq"
    data = {wrong: 1}
    for parent in reversed(parents):
        data = {parent: data}
    with pytest.raises(UserError, match=f'unknown option "{".".join([*parents, wrong])}"'):
        from_mapping(RunConfig, data)


def test_nearest_name_is_suggested():
    with pytest.raises(UserError, match='did you mean "gamma"'):
        load_config("demo", ["training.gama=1"])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations(path):
    config = load_config(str(path))
    assert from_mapping(RunConfig, to_mapping(config)) == config
    assert path.read_text().startswith("#"), "a configuration says what it reproduces"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"latent_size": 500, "components": 16, "attention": "simplex"}, "try 496"),
        ({"components": 0}, "use a whole number from 1"),
        ({"components": 4}, "needs attention"),
        ({"attention": "triplex"}, 'is not one of none, simplex, duplex; did you mean "simplex"'),
        ({"latent_size": 1.5}, "expected int"),
        ({"tanh": 1}, "expected bool"),
        ({"resample_kernel": 3}, "expected a list"),
        ({"mapping": {"layer": 3}}, 'did you mean "layers"'),
        ({"mapping": 3}, "expected a mapping"),
        ({"w_dim": 7, "mapping": {"resnet": True}}, "set mapping.dim too"),
        ({"mapping": {"hidden_dim": 7, "resnet": True}}, "excludes mapping.resnet"),
        ({"attention": "duplex", "merge": {}}, "excludes attention"),
        ({"merge": {}, "components": 4}, "use resnet or orig"),
        (
            {"attention": "duplex", "carry_centroids": True, "components": 4, "latent_size": 64},
            "16 comp",
        ),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(UserError, match=message):
        from_mapping(GeneratorConfig, options)


def test_assignments():
    config = load_config(
        "demo", ["training.gamma=7", "generator.mapping.layers=2", "data.mirror=true"]
    )
    assert config.training.gamma == 7.0
    assert config.generator.mapping.layers == 2
    assert config.data.mirror is True
    for wrong in ("training.gamma", "training.gamma.x=1", "training.gamma=[1"):
        with pytest.raises(UserError):
            load_config("demo", [wrong])


def test_model_config_round_trip():
    assert from_mapping(ModelConfig, to_mapping(ModelConfig())) == ModelConfig()
