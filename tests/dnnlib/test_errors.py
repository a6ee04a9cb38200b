"""Hints for misspelt names."""

import pytest

from dnnlib.errors import UserError, suggest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gama", '; did you mean "gamma"?'),
        ("--resoluton", '; did you mean "--resolution"?'),
        ("gamma", '; did you mean "gamma"?'),
        ("entirely different", ""),
        ("", ""),
    ],
)
def test_suggest(name, hint):
    assert suggest(name, ["gamma", "--resolution", "kimg"]) == hint


def test_suggest_takes_any_iterable():
    assert suggest("kimgs", (name for name in ["kimg"])) == '; did you mean "kimg"?'
    assert suggest("x", []) == ""


def test_user_error_is_no_programming_error():
    """Scripts catch it apart from ValueError and OSError, which may be faults of ours."""
    assert issubclass(UserError, Exception)
    assert not issubclass(UserError, ValueError | OSError)
