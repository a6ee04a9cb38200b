"""Labels from a table: a CSV file, or JSON such as StyleGAN2-ADA's dataset.json."""

import csv
import hashlib
import io
import json
import math

import numpy as np

from datasets.labels.labeller import Labeller
from datasets.sources.item import Item
from dnnlib.errors import UserError, suggest
from dnnlib.image_files import ImageError

_NAME_COLUMNS = ("filename", "file_name", "file", "image", "image_id", "img", "path", "name", "id")
_NUMBER_COLUMNS = ("", "index", "unnamed: 0")  # that programs add and nobody means

# One row of a table: what it says of each column.
Row = dict[str, str | float | int]


class Table(Labeller):
    """Labels looked up by the name of the image; folders and the ending may be left out there.

    A column of whole numbers or words becomes a one-hot vector over the values that occur, a
    column with fractions one value.
    """

    def __init__(self, rows: dict[str, Row], columns: list[str], *, origin: str):
        known = list(dict.fromkeys(column for row in rows.values() for column in row))
        for column in columns:
            if column not in known:
                raise UserError(
                    f'{origin}: no column "{column}"{suggest(column, known)} '
                    f"(one of {', '.join(known)})"
                )
        self._rows = {_without_ending(name): row for name, row in rows.items()}
        self._values = {
            column: _distinct([row[column] for row in rows.values() if column in row])
            for column in columns or known
        }
        self.names = [
            column if values is None else f"{column}={value}"
            for column, values in self._values.items()
            for value in ([None] if values is None else values)
        ]
        if not self.names:
            raise UserError(f"{origin}: holds no labels; leave out --labels or name another table")

    def label(self, item: Item) -> np.ndarray:
        """Return the label of an image."""
        row = self._find(item.name)
        parts = []
        for column, values in self._values.items():
            if column not in row:
                raise ImageError(f"the table of labels has no {column} for it")
            if values is None:
                parts.append(np.array([row[column]], np.float32))
            else:
                parts.append(np.eye(len(values), dtype=np.float32)[values[row[column]]])
        return np.concatenate(parts)

    def _find(self, name: str) -> Row:
        parts = _without_ending(name).split("/")
        for start in range(len(parts)):
            row = self._rows.get("/".join(parts[start:]))
            if row is not None:
                return row
        raise ImageError("not in the table of labels")


def read_table(content: bytes, columns: list[str], *, origin: str) -> Table:
    """Read a table of labels; what it is shows in its content. origin: for messages."""
    try:
        text = content.decode("utf-8-sig")
        rows = _read_json(text) if text.lstrip()[:1] in ("{", "[") else _read_csv(text)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, csv.Error) as error:
        raise UserError(
            f"{origin}: no table of labels ({error}); a CSV with a column of file names, or JSON "
            '{"labels": [["name.png", 3], ...]} is wanted'
        ) from error
    try:
        table = Table(rows, columns, origin=origin)
    except (ValueError, TypeError) as error:
        raise UserError(f"{origin}: {error}; name the columns to use: --labels FILE:COLUMN") from (
            error
        )
    table.digest = hashlib.sha256(content).hexdigest()
    return table


def _read_json(text: str) -> dict[str, Row]:
    """Read {"labels": [[name, label], ...]} or {name: label}; a label: class or vector or row."""
    content = json.loads(text)
    if isinstance(content, dict) and "labels" in content:
        content = content["labels"]
    if content is None:
        raise ValueError("its labels are null")
    pairs = content.items() if isinstance(content, dict) else content
    return {name: _json_row(label) for name, label in pairs if label is not None}


def _json_row(label: object) -> Row:
    if isinstance(label, dict):
        return {str(column): value for column, value in label.items()}
    if isinstance(label, list):
        return {f"value{number}": float(value) for number, value in enumerate(label)}
    if isinstance(label, (str, int, float)):
        return {"class": label}
    raise ValueError(f"label {label!r}")


def _read_csv(text: str) -> dict[str, Row]:
    first_line = text.partition("\n")[0]
    delimiter = max("\t,;", key=first_line.count)
    lines = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    lines = [[cell.strip() for cell in line] for line in lines if line]
    if not lines or len(lines[0]) < 2:
        raise ValueError("it has fewer than two columns")
    header = _header(lines[0])
    if header is None:
        header = ["name", *(f"column{number}" for number in range(1, len(lines[0])))]
    else:
        lines = lines[1:]
    name_column = next((header.index(name) for name in _NAME_COLUMNS if name in header), 0)
    rows = {}
    for number, line in enumerate(lines):
        if len(line) != len(header):
            raise ValueError(f"row {number + 1} has {len(line)} columns, not {len(header)}")
        rows[line[name_column]] = {
            column: _number(cell)
            for place, (column, cell) in enumerate(zip(header, line, strict=True))
            if place != name_column and column.lower() not in _NUMBER_COLUMNS
        }
    return rows


def _header(line: list[str]) -> list[str] | None:
    """Return the names of the columns if the first line holds names, None if it is data."""
    lowered = [cell.lower() for cell in line]
    if any(name in lowered for name in _NAME_COLUMNS):
        return [
            low if low in _NAME_COLUMNS else cell for low, cell in zip(lowered, line, strict=True)
        ]
    return None


def _number(cell: str) -> str | float | int:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _distinct(values: list) -> dict | None:
    """Return {value: place in the one-hot vector}, None if the values are numbers to be kept."""
    if any(isinstance(value, float) for value in values):
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            raise ValueError("a column mixes numbers with words or infinities")
        return None
    integers = all(isinstance(value, int) for value in values)
    ordered = sorted(set(values), key=(lambda value: value) if integers else str)
    return {value: place for place, value in enumerate(ordered)}


def _without_ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem.removeprefix("./") if dot and "/" not in ending else name.removeprefix("./")
