"""--label: names of classes, values of columns, numbers; and the vector that results."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from gansformer.labels import describe_vector, find_numbers, read_label

ONE = ["label=1", "label=2"]  # a table with one column of numbers
FOLDERS = ["cats", "dogs", "a,b"]
TWO = ["colour=c0", "colour=c1", "colour=c2", "size=s0", "size=s1"]
MIXED = ["colour=1", "colour=2", "age"]


@pytest.mark.parametrize(
    ("names", "numbers", "text", "expected"),
    [
        (ONE, [], "1", [1, 0]),
        (ONE, [], "2", [0, 1]),
        (ONE, [], "label=2", [0, 1]),
        (["1", "2"], [], "1", [1, 0]),  # folders that are called so
        (FOLDERS, [], "dogs", [0, 1, 0]),
        (FOLDERS, [], "a,b", [0, 0, 1]),
        (FOLDERS, [], "0", [1, 0, 0]),  # without a name that is a number, it counts
        (["0", "1", "2"], None, "2", [0, 0, 1]),
        (TWO, [], "colour=c1,size=s0", [0, 1, 0, 1, 0]),
        (TWO, None, "size=s1, colour=c0", [1, 0, 0, 0, 1]),
        (TWO, [], "colour=2,size=s0", [0, 0, 1, 1, 0]),
        (["x=a,b", "x=c", "y=d"], [], "x=a,b,y=d", [1, 0, 1]),
        (["a=b", "a=b=c"], [], "b=c", [0, 1]),
        (["age"], ["age"], "3.5", [3.5]),
        (["age"], None, "age=-2e1", [-20]),
        (MIXED, ["age"], "colour=2,age=0", [0, 1, 0]),
        (MIXED, None, "age=0.25,colour=1", [1, 0, 0.25]),
        (["x", "y"], ["x", "y"], "x=1,y=-1", [1, -1]),
    ],
)
def test_vectors(names, numbers, text, expected):
    vector = read_label(text, names, numbers)
    assert vector.dtype == np.float32
    np.testing.assert_array_equal(vector, np.float32(expected))


@pytest.mark.parametrize(
    ("names", "numbers", "text", "message"),
    [
        (ONE, [], "0", "use one of 1, 2"),
        (ONE, [], "3", "use one of 1, 2"),
        (FOLDERS, [], "3", "none of cats, dogs"),
        (FOLDERS, [], "dgos", 'did you mean "dogs"'),
        (FOLDERS, [], "", "none of cats, dogs"),
        (FOLDERS, [], "\u0661", "none of cats"),
        (TWO, [], "colour=c1", "size missing; choose --label colour=c0|c1|c2,size=s0|s1"),
        (TWO, [], "colour=c1,colour=c2,size=s0", "colour is given twice"),
        (TWO, [], "c1", "choose --label colour="),
        (TWO, [], "color=c1,size=s0", 'did you mean "colour"'),
        (TWO, [], "colour=c9,size=s0", "--label colour=c9: use one of c0, c1, c2"),
        (["age"], ["age"], "old", "age is a number"),
        (["age"], ["age"], "nan", "age is a number"),
        (["age"], ["age"], "1e39", "age is a number"),
        (MIXED, ["age"], "colour=1", "age missing; choose --label colour=1|2,age=NUMBER"),
    ],
)
def test_one_line_says_what_there_is(names, numbers, text, message):
    with pytest.raises(UserError) as error:
        read_label(text, names, numbers)
    assert message in str(error.value)


def test_what_the_labels_themselves_say():
    classes = np.eye(3)[[0, 2, 1, 1]]
    assert find_numbers(["a", "b", "c"], classes) == []
    assert find_numbers(["a", "b", "c"], classes * 2) == ["a", "b", "c"]
    assert find_numbers(["x=1", "x=2", "age"], [[1, 0, 0.5], [0, 1, 0.25]]) == ["age"]
    assert find_numbers(["x=1", "x=2"], [[1, 0], [0, 1]]) == []
    assert find_numbers(["age"], [[0], [1]]) == ["age"]
    assert find_numbers(["cats"], [[1], [1]]) == []


def test_description():
    assert describe_vector(np.float32([0, 1]), ["a", "b"]) == "a 0, b 1"
    many = describe_vector(np.eye(40)[7], [f"n{i}" for i in range(40)])
    assert many == "n7 1, all others of 40 0"
