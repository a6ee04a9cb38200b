"""Reading tables of labels: CSV and its kin, or JSON such as StyleGAN2-ADA's dataset.json."""

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator

from datasets.labels.matching import ImageNames, has_file_ending
from datasets.labels.tables import Row, Table, Value
from datasets.sources.source import Source
from dnnlib.errors import UserError
from dnnlib.image_folders import printable

_NAME_COLUMNS = ("filename", "file_name", "file", "image", "image_id", "img", "path", "name", "id")
_NUMBER_COLUMNS = ("", "index", "unnamed: 0")  # that programs add and nobody means
_SAMPLE_ROWS = 1000  # that are enough to find the column of names
_DELIMITERS = "\t,;"
_END = ["\x1f", "end"]  # of a table; a line that comes last unless a quotation mark is left open


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
