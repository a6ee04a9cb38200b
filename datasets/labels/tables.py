"""Labels from a table: CSV and its kin, or JSON such as StyleGAN2-ADA's dataset.json."""

import csv
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from datasets.labels.labeller import Labeller
from datasets.labels.matching import ImageNames, has_file_ending
from datasets.sources.item import Item
from datasets.sources.source import Source
from dnnlib.errors import UserError, suggest
from dnnlib.image_files import ImageError
from dnnlib.image_folders import printable

MOST_CLASSES = 10_000
_FEW_CLASSES = 100  # so many are classes even where each occurs once
_NAME_COLUMNS = ("filename", "file_name", "file", "image", "image_id", "img", "path", "name", "id")
_NUMBER_COLUMNS = ("", "index", "unnamed: 0")  # that programs add and nobody means
_SAMPLE_ROWS = 1000  # that are enough to find the column of names
_DELIMITERS = "\t,;"
_LARGEST = float(np.finfo(np.float32).max)  # that a label can hold
_END = ["\x1f", "end"]  # of a table; a line that comes last unless a quotation mark is left open

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


def read_table(content: bytes, columns: list[str], source: Source, *, origin: str) -> Table:
    """Read a table of labels; what it is shows in its content. origin: for messages."""
    path = source.path.resolve()
    root = path.parts if path.is_dir() else (*path.parts[:-1], path.name.split(".")[0])
    images = ImageNames(root, (item.name for item in source.items()))
    try:
        text = _decode(content)
        is_json = text.lstrip()[:1] in ("{", "[")
        rows = _read_json(text, images) if is_json else _read_csv(text, images)
        table = Table(rows, columns, images, origin=origin)
    except UserError as error:
        if str(error).startswith(f"{origin}: "):
            raise
        raise UserError(f"{origin}: {error}") from error
    except (
        *(ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError),
        csv.Error,
    ) as error:
        raise UserError(
            f"{origin}: no table of labels ({error}); a CSV with a column of file names, or JSON "
            '{"labels": [["name.png", 3], ...]} is wanted'
        ) from error
    table.digest = hashlib.sha256(content).hexdigest()
    return table


def _decode(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # as Excel writes "Unicode text"
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _read_json(text: str, images: ImageNames) -> Iterator[Row]:
    """Read {"labels": [[name, label], ...]}, {name: label}, lists of objects, lines of objects."""
    try:
        content = json.loads(text, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError:
        content = [
            json.loads(line, object_pairs_hook=_without_doubles)
            for line in text.splitlines()
            if line.strip()
        ]
    if isinstance(content, dict) and "labels" in content:
        content = content["labels"]
    if content is None:
        raise ValueError("its labels are null")
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        yield from _read_objects(content, images)
        return
    pairs = content.items() if isinstance(content, dict) else content
    for name, label in pairs:
        yield _text(name), {} if label is None else _json_row(label)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON; ValueError if it says two things under one name."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f'"{printable(name)}" is there with {found[name]!r} and {value!r}')
        found[name] = value
    return found


def _read_objects(objects: list[dict], images: ImageNames) -> Iterator[Row]:
    keys = list(dict.fromkeys(key for row in objects for key in row))
    sample = ([str(row.get(key, "")) for key in keys] for row in objects)
    place = _find_names(sample, keys, images)
    for row in objects:
        cells = {str(key): value for key, value in row.items() if key != keys[place]}
        yield _text(row[keys[place]]), cells


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name of a file")
    return name


def _json_row(label: object) -> dict[str, Value]:
    if isinstance(label, dict):
        return {str(column): value for column, value in label.items()}
    if isinstance(label, list):
        numbers = [None if value is None else float(value) for value in label]
        return {f"value{number}": value for number, value in enumerate(numbers)}
    if isinstance(label, (str, int, float)):
        return {"class": label}
    raise ValueError(f"label {label!r}")


def _read_csv(text: str, images: ImageNames) -> Iterator[Row]:
    lines = _lines(text)
    first = next(lines, [])
    if len(first) == 1 and first[0].isdecimal():  # CelebA's tables begin with their length
        first = next(lines, [])
    sample = list(itertools.islice(lines, _SAMPLE_ROWS))
    while first and not first[-1] and sample and len(sample[0]) < len(first):
        first.pop()
    while sample and len(sample[0]) > len(first) and not sample[0][-1]:
        sample[0].pop()
    if sample and len(sample[0]) == len(first) + 1:  # and their header leaves out the names
        first = ["name", *first]
    if len(first) < 2:
        raise ValueError("it has fewer than two columns")
    place = _find_names(itertools.chain([first], sample), first, images)
    if _is_header(first, place, sample, images):
        header, start = _unique(first), 1
    else:
        header = ["name", *(f"column{number}" for number in range(1, len(first)))]
        header[0], header[place] = header[place], header[0]
        sample, start = [first, *sample], 0
    for number, line in enumerate(itertools.chain(sample, lines), start):
        while len(line) > len(header) and not line[-1]:
            line.pop()
        if len(line) != len(header):
            raise ValueError(f"row {number + 1 - start} has {len(line)} columns, not {len(header)}")
        yield (
            line[place],
            {
                column: _number(cell)
                for index, (column, cell) in enumerate(zip(header, line, strict=True))
                if index != place and column.lower() not in _NUMBER_COLUMNS
            },
        )


def _lines(text: str) -> Iterator[list[str]]:
    text = text.lstrip("\r\n ")
    if text.startswith("sep="):  # as Excel writes
        text = text.partition("\n")[2]
    first_line = text.partition("\n")[0]
    if first_line.strip().isdecimal():
        first_line = text.partition("\n")[2].partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    if delimiter in first_line:
        file = io.StringIO(text + "\n" + delimiter.join(_END), newline="")
        lines: Iterable[list[str]] = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        lines = _up_to_end(lines)
    else:
        lines = (line.split() for line in io.StringIO(text))
    for line in lines:
        if line and any(cell.strip() for cell in line):
            yield [cell.strip() for cell in line]


def _up_to_end(lines: Iterable[list[str]]) -> Iterator[list[str]]:
    for line in lines:
        if line == _END:
            return
        yield line
    raise ValueError("a quotation mark is opened and never closed")


def _find_names(rows: Iterable[list[str]], header: list[str], images: ImageNames) -> int:
    """Return which column holds the names of images: the one with most of them.

    An ending counts first (numbers of rows may look like names); then what the header says.
    """
    matches = [(set(), set()) for _ in header]  # images found by their exact name; found at all
    for row in itertools.islice(rows, _SAMPLE_ROWS):
        for (exact, found), cell in zip(matches, row, strict=False):
            try:
                place = images.find(cell)
            except UserError:  # fits several; which column this is shows all the same
                found.add(cell)
                continue
            if place is not None:
                found.add(place[0])
                if place[1] >= 3000:
                    exact.add(place[0])
    lowered = [cell.lower() for cell in header]
    known = [
        len(_NAME_COLUMNS) - _NAME_COLUMNS.index(cell) if cell in _NAME_COLUMNS else 0
        for cell in lowered
    ]
    return max(
        range(len(header)),
        key=lambda n: (len(matches[n][0]), len(matches[n][1]), known[n], -n),
    )


def _is_header(first: list[str], place: int, sample: list[list[str]], images: ImageNames) -> bool:
    """Say whether the first line names columns: its cell among the names is no image."""
    cell = first[place]
    if has_file_ending(cell):
        return False
    try:
        is_image = images.find(cell) is not None
    except UserError:  # it fits several images
        is_image = True
    if cell.lower() in _NAME_COLUMNS and not is_image:
        return True
    if is_image and cell.lower() not in _NAME_COLUMNS:
        return False
    # An image called "image", or one that the source lacks: then its labels are as all others are.
    return not all(_is_like(first, sample, n) for n in range(len(first)) if n != place)


def _is_like(first: list[str], sample: list[list[str]], index: int) -> bool:
    """Say whether the first cell of a column is like those below it."""
    below = [row[index] for row in sample if index < len(row)]
    is_number = _is_number(first[index]) and all(map(_is_number, below[:20]))
    return bool(below) and (first[index] in below or is_number)


def _is_number(cell: str) -> bool:
    return not isinstance(_number(cell), str)


def _unique(header: list[str]) -> list[str]:
    """Return names of columns of which none is there twice."""
    names: list[str] = []
    for name in header:
        number = 2
        unique = name
        while unique in names and name.lower() not in _NUMBER_COLUMNS:
            unique, number = f"{name}.{number}", number + 1
        names.append(unique)
    return names


def _number(cell: str) -> str | float | int:
    """Return the number in a cell, or the cell. (Only Python takes 1_0 for 10.)"""
    if "_" in cell or not cell.isascii():
        return cell
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _is_blank(value: object) -> bool:
    """Say whether a cell is empty, as tables and other programs write that."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))
