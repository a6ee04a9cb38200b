"""Labels by the names of images, from the rows of a table."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from datasets.labels.labeller import Labeller
from datasets.labels.matching import ImageNames
from datasets.sources.item import Item
from dnnlib.errors import UserError, suggest
from dnnlib.image_files import ImageError
from dnnlib.image_folders import printable

MOST_CLASSES = 10_000
_FEW_CLASSES = 100  # so many are classes even where each occurs once
_LARGEST = float(np.finfo(np.float32).max)  # that a label can hold

Value = str | float | int | None | list | dict  # the last two, of JSON, are no labels
Row = tuple[str, dict[str, Value]]  # name of the image, what the table says of each column


@dataclass
class _Column:
    """What occurs in a column of a table. Blank cells do not count: they say "not labelled"."""

    name: str
    rows: int = 0
    has_words: bool = False
    has_fractions: bool = False
    has_infinities: bool = False
    has_lists: bool = False
    values: set[str] = field(default_factory=set)  # up to MOST_CLASSES + 1

    def add(self, value: Value) -> None:
        """Take in the value of one row."""
        self.rows += 1
        if isinstance(value, (list, dict)):
            self.has_lists = True
            return
        if isinstance(value, (str, bool)):
            self.has_words = True
        elif isinstance(value, float):
            self.has_fractions = True
            self.has_infinities |= abs(value) > _LARGEST
        if len(self.values) <= MOST_CLASSES:
            self.values.add(str(value))

    @property
    def problem(self) -> str | None:
        """Why it cannot be a label, if so."""
        if not self.rows:
            return "is blank"
        if self.has_lists:
            return "holds lists or objects"
        if self.has_fractions:
            mixed = self.has_words or self.has_infinities
            return "mixes numbers with words, or has too large ones" if mixed else None
        different = len(self.values)
        if different > MOST_CLASSES or (different > _FEW_CLASSES and 2 * different > self.rows):
            count = f"more than {MOST_CLASSES:,}" if different > MOST_CLASSES else f"{different:,}"
            return (
                f"has {count} different values in {self.rows:,} rows, which are no classes (a "
                "number is kept as it is if it is written with a point: 3.0)"
            )
        return None

    def places(self) -> dict[str, int] | None:
        """Return {value: place in the one-hot vector}, None if its numbers are kept."""
        if self.has_fractions:
            return None
        ordered = sorted(self.values, key=str if self.has_words else int)  # as text, and 10 after 9
        return {value: place for place, value in enumerate(ordered)}


class _Match(NamedTuple):
    """A row of an image. exactly: how well its name fits."""

    exactly: int
    name: str
    cells: dict[str, Value]


class Table(Labeller):
    """Labels looked up by the name of the image; memory grows with the images, not the classes.

    A column of whole numbers or words becomes a one-hot vector over the values that occur, a
    column with fractions one value. Rows of images that the source lacks are left aside.
    """

    def __init__(self, rows: Iterable[Row], wanted: list[str], images: ImageNames, *, origin: str):
        self._origin, self._images, self._wanted = origin, images, wanted
        self.remarks: list[str] = []
        columns: dict[str, _Column] = {}
        found: dict[int, _Match] = {}
        unknown: list[str] = []  # examples of rows that name no image
        count = 0
        for name, cells in rows:
            count += 1
            for column, value in cells.items():
                known = columns.setdefault(column, _Column(column))
                if not _is_blank(value):
                    known.add(value)
            kept = {column: cells[column] for column in wanted or cells if column in cells}
            place = images.find(name)
            if place is not None:
                self._note(found, place[0], _Match(place[1], name, kept))
            elif len(unknown) < 2:
                unknown.append(name)
        if not found:
            self._refuse(count, unknown)
        self._columns = self._choose(columns)
        self._rows = {images[number]: match.cells for number, match in found.items()}
        if unknown:
            examples = " and ".join(f'"{printable(name)}"' for name in unknown)
            self.remarks.append(
                f"{origin}: some rows name no image of the source, such as {examples}"
            )
        self._places = {name: columns[name].places() for name in self._columns}
        self.names = [
            column if places is None else f"{column}={value}"
            for column, places in self._places.items()
            for value in ([None] if places is None else places)
        ]

    def label(self, item: Item) -> np.ndarray:
        """Return the label of an image."""
        row = self._rows.get(item.name)
        if row is None:
            raise ImageError("not in the table of labels")
        label, start = np.zeros(len(self.names), np.float32), 0
        for column, places in self._places.items():
            value = row.get(column, "")
            if _is_blank(value):
                raise ImageError(f"the table of labels has no {column} for it")
            if places is None:
                label[start] = value
                start += 1
            else:
                label[start + places[str(value)]] = 1
                start += len(places)
        return label

    def _note(self, found: dict[int, "_Match"], image: int, match: "_Match") -> None:
        """Keep a row; of several rows the one that names the image most exactly."""
        before = found.get(image)
        if before is None or match.exactly > before.exactly:
            found[image] = match
        elif match.exactly == before.exactly and match.cells != before.cells:
            columns = dict.fromkeys([*before.cells, *match.cells])
            column = next(c for c in columns if before.cells.get(c) != match.cells.get(c))
            raise UserError(
                f"{self._origin}: several rows are of {printable(self._images[image])}: "
                f'"{printable(before.name)}" with {column} "{before.cells.get(column)}", '
                f'"{printable(match.name)}" with "{match.cells.get(column)}"; leave one in the '
                "table, or name the columns to use: --labels FILE:COLUMN"
            )

    def _choose(self, columns: dict[str, _Column]) -> list[str]:
        for name in self._wanted:
            if name not in columns:
                raise UserError(
                    f'{self._origin}: no column "{name}"{suggest(name, columns)} '
                    f"(one of {', '.join(columns)})"
                )
        candidates = self._wanted or list(columns)
        problems = {name: problem for name in candidates if (problem := columns[name].problem)}
        good = [name for name in candidates if name not in problems]
        if (self._wanted and problems) or not good:
            for name, problem in problems.items():
                raise UserError(
                    f"{self._origin}: column {name} {problem}; name the columns to use: --labels "
                    "FILE:COLUMN"
                )
            raise UserError(
                f"{self._origin}: holds no labels; leave out --labels or name another table"
            )
        for name, problem in problems.items():
            self.remarks.append(f"{self._origin}: column {name} is left aside: it {problem}")
        if len(good) > 1 and not self._wanted:
            self.remarks.append(
                f"{self._origin}: labels are all of {', '.join(good)}; choose some with --labels "
                "FILE:COLUMN,COLUMN"
            )
        return good

    def _refuse(self, count: int, unknown: list[str]) -> None:
        """Raise a UserError where no row fits any image."""
        examples = f', such as "{printable(unknown[0])}"' if unknown else ""
        own = f", such as {printable(self._images[0])}" if len(self._images) else ""
        raise UserError(
            f"{self._origin}: none of its {count:,} rows{examples} names an image of the source"
            f"{own}; one column must hold the names of the files"
        )


def _is_blank(value: object) -> bool:
    """Say whether a cell is empty, as tables and other programs write that."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))
