"""Hints for misspelt names."""

import pickle

import pytest

from dnnlib.errors import MissingFile, UserError, suggest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gama", '; did you mean "gamma"?'),
        ("--resoluton", '; did you mean "--resolution"?'),
        ("gamma", '; did you mean "gamma"?'),
        ("--res", '; did you mean "--resolution"?'),
        ("entirely different", ""),
        ("", ""),
    ],
)
def test_suggest(name, hint):
    assert suggest(name, ["gamma", "--resolution", "kimg"]) == hint


def test_suggest_takes_any_iterable():
    assert suggest("kimgs", (name for name in ["kimg"])) == '; did you mean "kimg"?'
    assert suggest("x", []) == ""


def test_callers_catch_what_they_know():
    with pytest.raises(ValueError, match="^gamma must be above 0$"):
        raise UserError("gamma must be above 0")
    with pytest.raises(FileNotFoundError, match="^runs/x does not exist$") as caught:
        raise MissingFile("runs/x does not exist")
    assert isinstance(caught.value, UserError) and not isinstance(UserError("x"), OSError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == "runs/x does not exist"
