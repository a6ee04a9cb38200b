"""What a study file says, and what is refused in it."""

import pytest

from dnnlib.config import from_mapping, to_mapping
from dnnlib.errors import MissingFile, UserError
from tests.training.study.runs import STUDY
from training.config import load_config
from training.study.plan import STUDIES, Study, load_study

NAMES = sorted(path.stem for path in STUDIES.glob("*.yaml"))
MINIMAL = {
    "title": "t",
    "data": "d",
    "prepare": "demo",
    "kimg": 10,
    "points": [1, 10],
    "metrics": "swd2k",
    "rows": [{"name": "a", "config": "demo"}],
}


def test_the_studies_of_the_issue_ship():
    assert NAMES == [
        "bedrooms256",
        "cartoonset64",
        "cartoonset64-small",
        "cityscapes256",
        "clevr256",
        "ffhq256",
        "smoke",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_have_valid_configurations_of_the_data_sets_size(name):
    study = load_study(name)
    for cell in study.choose(None, None):
        config = load_config(cell.row.config, cell.assignments(study, []))
        assert f"--resolution {config.data.resolution}" in study.prepare
        assert config.output.milestones_kimg == study.points
        assert config.training.kimg == study.kimg


def test_the_five_rows_of_the_replication_study():
    """Names say where attention is; published values as in the paper's table of 300 kimg."""
    for name in ("cartoonset64", "cartoonset64-small"):
        study = load_study(name)
        found = {}
        for cell in study.choose(None, None):
            config = load_config(cell.row.config, cell.assignments(study, []))
            found[cell.row.name] = (config.generator.attention, config.discriminator.attention)
        assert found == {
            "stylegan2": ("none", False),
            "simplex": ("simplex", True),
            "duplex": ("duplex", True),
            "simplex-sg2d": ("simplex", False),
            "duplex-sg2d": ("duplex", False),
        }
        published = [row.published for row in study.rows]
        assert published == [24.77, 28.11, 27.08, 19.09, 24.81]


def test_changes_of_a_row_are_stronger_than_the_studys_and_weaker_than_the_command_lines():
    rows = [{"name": "a", "config": "demo", "set": ["training.gamma=2", "training.clip=2"]}]
    changes = ["training.gamma=1", "training.clip=1", "training.ema_kimg=1"]
    study = from_mapping(Study, MINIMAL | {"rows": rows, "set": changes, "seeds": [3, 4]})
    cells = study.choose("a", None)
    assert [cell.name for cell in cells] == ["a-seed3", "a-seed4"]
    config = load_config("demo", cells[1].assignments(study, ["training.clip=3"])).training
    assert (config.ema_kimg, config.gamma, config.clip) == (1, 2, 3)
    assert (config.kimg, config.seed) == (10, 4)


def test_a_study_survives_its_description():
    plain = to_mapping(STUDY) | {"rows": [to_mapping(row) for row in STUDY.rows]}
    assert from_mapping(Study, plain) == STUDY


@pytest.mark.parametrize(
    "change, message",
    [
        ({"points": [10, 1]}, "points must grow, up to the study's 10 kimg"),
        ({"points": [1, 11]}, "points must grow, up to the study's 10 kimg"),
        ({"points": []}, "a study needs a point"),
        ({"rows": []}, "a study needs a row"),
        ({"rows": 2 * MINIMAL["rows"]}, "row a twice"),
        ({"rows": [{"name": "../a", "config": "demo"}]}, "letters, digits"),
        ({"seeds": [1, 1]}, "seed 1 twice"),
        ({"metrics": "swb2k"}, 'metric swb2k is not known; did you mean "swd"'),
        ({"kimgs": 3}, 'unknown option "kimgs"; did you mean "kimg"?'),
        ({"kimg": 0}, "kimg 0.0: use a number"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(UserError) as caught:
        from_mapping(Study, MINIMAL | change)
    assert message in str(caught.value)


def test_names_that_are_not_there():
    with pytest.raises(MissingFile, match='study smok does not exist; did you mean "smoke"'):
        load_study("smok")
    with pytest.raises(UserError, match='no row simplx; did you mean "simplex"'):
        STUDY.choose("simplx,duplex", None)
    with pytest.raises(UserError, match="names none"):
        STUDY.choose(",", None)
