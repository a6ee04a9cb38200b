"""From what a user wrote after --labels to what gives the labels."""

from pathlib import Path

import numpy as np

from datasets.labels.attributes import AttributeFiles
from datasets.labels.folders import FolderNames
from datasets.labels.labeller import Labeller
from datasets.labels.table_files import read_table
from datasets.sources.item import Item
from datasets.sources.source import Source
from dnnlib.errors import MissingFile, UserError
from dnnlib.image_files import ImageError

_TABLE_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".txt")


class StoredLabels(Labeller):
    """The labels that the source itself brings along."""

    def __init__(self, source: Source):
        if not source.label_names:
            raise UserError(
                f"{source.path}: brings no labels of its own; leave out --labels stored, or name "
                "a table or folders" + "".join(f" ({remark})" for remark in source.remarks)
            )
        self.names = list(source.label_names)

    def label(self, item: Item) -> np.ndarray:
        """Return the label of the item."""
        if item.label is None:
            raise ImageError("has no label in its source")
        return item.label


def choose_labeller(wanted: str | None, source: Source) -> Labeller:
    """Return what gives the labels that a user asked for.

    wanted: None; "folders"; "stored"; a table FILE or FILE:COLUMN,COLUMN (beside us or inside the
    source); "attributes" or names of attributes of Cartoon Set, with commas between them.
    """
    if wanted is None:
        return Labeller()
    if wanted == "folders":
        return FolderNames(source)
    if wanted == "stored":
        return StoredLabels(source)
    file, _, columns = (wanted, "", "") if Path(wanted).is_file() else wanted.partition(":")
    if file.lower().endswith(_TABLE_ENDINGS) or Path(file).is_file():
        return read_table(_read(file, source), _names(columns), source, origin=file)
    return AttributeFiles(source, [] if wanted == "attributes" else _names(wanted))


def _read(file: str, source: Source) -> bytes:
    path = Path(file)
    if path.is_file():
        return path.read_bytes()
    try:
        content = source.read_text(file)
    except ImageError as error:
        raise UserError(f"{file} in {source.path}: {error}; unpack it, or get it again") from error
    if content is None:
        raise MissingFile(f"{file}: no such table of labels, neither here nor in {source.path}")
    return content


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
