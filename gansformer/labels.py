"""Labels as text: "cats", "colour=red,size=2", "age=3.5", and the vectors that networks get.

A label vector has a name for each of its values. "colour=red" is a value of the column colour, 1 if
it is the image's and else 0; a name without "=" is a number of its own, or, where labels are one
list of classes (from folders), a class.
"""

import math
from collections.abc import Sequence

import numpy as np

from dnnlib.errors import UserError, suggest

MOST_PRINTED = 16  # values of a vector


def find_numbers(names: Sequence[str], labels: np.ndarray) -> list[str]:
    """Return which names stand for numbers instead of classes, by the labels [n, len(names)]."""
    plain = [place for place, name in enumerate(names) if "=" not in name]
    values = np.asarray(labels)[:, plain]
    is_classes = np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()
    return [] if is_classes else [names[place] for place in plain]


def read_label(text: str, names: Sequence[str], numbers: Sequence[str] | None = None) -> np.ndarray:
    """Return the vector float32 [len(names)] that `text` describes.

    numbers: names that stand for numbers, see find_numbers; None: unknown (older snapshots).
    Raises UserError, which says what there is, unless each column gets a value.
    """
    names = list(names)
    columns = _columns(names, _guess_numbers(names) if numbers is None else numbers)
    chosen: dict[str, tuple[int, float]] = {}  # column -> place, value
    if len(columns) == 1:
        ((column, values),) = columns.items()
        chosen[column] = _choose(text, column, values)
    else:
        for part in _parts(text):
            column, separator, value = part.partition("=")
            if not separator or column not in columns:
                hint = suggest(column, columns)
                raise UserError(f"--label {text}: {part} {_expected(columns)}{hint}")
            if column in chosen:
                raise UserError(f"--label {text}: {column} is given twice")
            chosen[column] = _choose(value, column, columns[column])
        missing = [column for column in columns if column not in chosen]
        if missing:
            raise UserError(f"--label {text}: {', '.join(missing)} missing; {_expected(columns)}")
    vector = np.zeros(len(names), np.float32)
    for place, value in chosen.values():
        vector[place] = value
    return vector


def describe_choices(names: Sequence[str], numbers: Sequence[str] | None = None) -> str:
    """Return what --label can be, for messages."""
    names = list(names)
    columns = _columns(names, _guess_numbers(names) if numbers is None else numbers)
    return _expected(columns)


def class_names(names: Sequence[str], numbers: Sequence[str] | None = None) -> list[str]:
    """Return the classes, where labels are one choice among classes. Raises UserError otherwise."""
    names = list(names)
    columns = _columns(names, _guess_numbers(names) if numbers is None else numbers)
    values = next(iter(columns.values()))
    if len(columns) > 1 or isinstance(values, int):
        raise UserError(
            f"--all-classes: the labels of this model are not one list of classes; "
            f"{_expected(columns)}"
        )
    return list(values)


def first_label(names: Sequence[str], numbers: Sequence[str] | None = None) -> str:
    """Return a label as --label takes it: of each column the first value, of numbers 0."""
    names = list(names)
    columns = _columns(names, _guess_numbers(names) if numbers is None else numbers)
    values = {name: "0" if isinstance(v, int) else next(iter(v)) for name, v in columns.items()}
    if list(values) == [""]:
        return values[""]
    return ",".join(f"{name}={value}" for name, value in values.items())


def describe_vector(vector: np.ndarray, names: Sequence[str]) -> str:
    """Return a label vector in words: its values, or those that are not 0 if there are many."""
    named = [f"{name} {value:g}" for name, value in zip(names, vector, strict=True)]
    if len(named) > MOST_PRINTED:
        named = [text for text, value in zip(named, vector, strict=True) if value]
        named.append(f"all others of {len(vector)} 0")
    return ", ".join(named)


def _guess_numbers(names: list[str]) -> list[str]:
    plain = [name for name in names if "=" not in name]
    return plain if len(plain) == 1 or len(plain) < len(names) else []


def _columns(names: list[str], numbers: Sequence[str]) -> dict[str, dict[str, int] | int]:
    """Return for each column its {value: place}, or the place of its number."""
    columns: dict[str, dict[str, int] | int] = {}
    for place, name in enumerate(names):
        column, separator, value = name.partition("=")
        if name in numbers:
            columns[name] = place
        elif separator:
            columns.setdefault(column, {})[value] = place
        else:  # one list of classes
            columns.setdefault("", {})[name] = place
    return columns


def _choose(text: str, column: str, values: dict[str, int] | int) -> tuple[int, float]:
    """Return (place in the vector, value) that `text` means in a column."""
    short = text.removeprefix(f"{column}=") if column else text
    if isinstance(values, int):
        try:
            number = float(short)
        except ValueError:
            number = math.nan
        if not abs(number) < float(np.finfo(np.float32).max):
            raise UserError(f"--label {text}: {column} is a number, such as {column}=0.5")
        return values, number
    for name in (text, short):
        if name in values:
            return values[name], 1.0
    # Numbers count the classes, from 0, where these have no numbers for names.
    are_numbers = all(name.lstrip("-").isdigit() for name in values)
    if short.isascii() and short.isdigit() and not are_numbers and int(short) < len(values):
        return list(values.values())[int(short)], 1.0
    what = f"--label {text} is none of" if not column else f"--label {column}={short}: use one of"
    raise UserError(f"{what} {_list(values)}{suggest(short, values)}")


def _parts(text: str) -> list[str]:
    """Split "a=x,b=y" at the commas; one without "=" after it belongs to a value."""
    parts: list[str] = []
    for part in text.split(","):
        if "=" in part or not parts:
            parts.append(part.strip())
        else:
            parts[-1] += f",{part}"
    return parts


def _expected(columns: dict[str, dict[str, int] | int]) -> str:
    if list(columns) == [""]:
        return f"choose --label from {_list(columns[''])}"
    each = [
        f"{column}=NUMBER" if isinstance(values, int) else f"{column}={'|'.join(_few(values))}"
        for column, values in columns.items()
    ]
    return f"choose --label {','.join(each)}"


def _few(values: dict[str, int]) -> list[str]:
    names = list(values)
    return names if len(names) <= 20 else [*names[:20], "..."]


def _list(values: dict[str, int]) -> str:
    return ", ".join(_few(values))
