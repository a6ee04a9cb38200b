"""Numbers from the command line: in their range, or one line that says what to use."""

import argparse

import pytest

from dnnlib.cli import ArgumentParser
from dnnlib.errors import UserError
from dnnlib.numbers import (
    FiniteNumber,
    WholeNumber,
    finite_float,
    fraction,
    positive_float,
    positive_int,
    seed,
)

GOOD = [
    (positive_int, "1", 1),
    (positive_int, "1_000", 1000),  # as Python writes numbers
    (seed, "0", 0),
    (seed, "9223372036854775807", 2**63 - 1),
    (WholeNumber(-3, 3), "-3", -3),
    (WholeNumber(), "-99999999999999999999", -99999999999999999999),
    (fraction, "0", 0.0),
    (fraction, "1", 1.0),
    (finite_float, "-1e3", -1000.0),
    (positive_float, "1e-9", 1e-9),
    (FiniteNumber(0.05, 20), "0.05", 0.05),
]
BAD = [
    (positive_int, "0", "use a whole number of at least 1"),
    (positive_int, "-1", "use a whole number of at least 1"),
    (positive_int, "1.5", "use a whole number of at least 1"),
    (positive_int, "nan", "use a whole number of at least 1"),
    (positive_int, "", "use a whole number of at least 1"),
    (seed, "9223372036854775808", "use a whole number from 0 to 9223372036854775807"),
    (WholeNumber(high=9), "10", "use a whole number of at most 9"),
    (fraction, "1.01", "use a number from 0 to 1"),
    (fraction, "nan", "use a number from 0 to 1"),
    (finite_float, "inf", "use a finite number"),
    (finite_float, "1e999", "use a finite number"),
    (finite_float, "many", "use a finite number"),
    (positive_float, "0", "use a number greater than 0"),
    (positive_float, "nan", "use a number greater than 0"),
    (FiniteNumber(above=0, high=2), "3", "use a number greater than 0, 2 at most"),
    (FiniteNumber(0.05, 20), "188", "use a number from 0.05 to 20"),
]


@pytest.mark.parametrize(("kind", "text", "expected"), GOOD)
def test_numbers_of_the_range(kind, text, expected):
    assert kind(text) == expected
    kind.check(expected, name="x")


@pytest.mark.parametrize(("kind", "text", "wanted"), BAD)
def test_other_texts(kind, text, wanted):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{wanted}$"):
        kind(text)


def test_values_that_are_no_numbers():
    for value in (True, None, "3", 2.0):
        with pytest.raises(UserError, match="^training.batch_size .*: use a whole number"):
            positive_int.check(value, name="training.batch_size")
    for value in (float("nan"), float("inf"), "1", True, 10**400):
        with pytest.raises(UserError, match="^training.gamma .*: use a finite number"):
            finite_float.check(value, name="training.gamma")


def test_the_line_names_option_value_and_range():
    parser = ArgumentParser(prog="generate.py")
    parser.add_argument("--columns", type=positive_int)
    assert parser.parse_args(["--columns", "2"]).columns == 2
    with pytest.raises(UserError, match=r"--columns 0: use a whole number of at least 1"):
        parser.parse_args(["--columns", "0"])
