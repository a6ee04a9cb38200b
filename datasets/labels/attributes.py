"""Labels from the attribute files of Cartoon Set."""

import csv
import io

import numpy as np

from datasets.labels.labeller import Labeller
from datasets.sources.item import Item
from datasets.sources.source import Source
from dnnlib.errors import UserError, suggest
from dnnlib.image_files import ImageError


class AttributeFiles(Labeller):
    """Labels from Cartoon Set's `csX.csv` beside each `csX.png`: one-hot vectors, joined.

    Such a file has no header; each line is  "name", chosen_index, number_of_variants.
    """

    def __init__(self, source: Source, wanted: list[str]):
        self._source = source
        example = self._example()
        known = list(example)
        for name in wanted:
            if name not in known:
                raise UserError(
                    f'no attribute "{name}" in {source.path}{suggest(name, known)} '
                    f"(one of {', '.join(known)})"
                )
        self._variants = {name: example[name][1] for name in wanted or known}
        self.names = [f"{name}={value}" for name, n in self._variants.items() for value in range(n)]

    def label(self, item: Item) -> np.ndarray:
        """Return the one-hot vectors of the wanted attributes, one after the other."""
        attributes = self._read(item)
        if attributes is None:
            raise ImageError("no attribute file (.csv) beside it")
        parts = []
        for name, variants in self._variants.items():
            value, count = attributes.get(name, (-1, variants))
            if count != variants or not 0 <= value < variants:
                raise ImageError(f"its attribute file has no valid {name}")
            part = np.zeros(variants, np.float32)
            part[value] = 1
            parts.append(part)
        return np.concatenate(parts)

    def _example(self) -> dict[str, tuple[int, int]]:
        for item in self._source.items():
            try:
                attributes = self._read(item)
            except ImageError:
                continue
            if attributes:
                return attributes
        raise UserError(
            f"{self._source.path}: has no attribute files (csX.csv beside csX.png); leave out "
            "--labels, or name a table of labels"
        )

    def _read(self, item: Item) -> dict[str, tuple[int, int]] | None:
        content = self._source.read_text(item.name.rpartition(".")[0] + ".csv")
        return None if content is None else parse_attributes(content)


def parse_attributes(content: bytes) -> dict[str, tuple[int, int]]:
    """Return {attribute: (chosen index, number of variants)} of a Cartoon Set attribute file."""
    attributes = {}
    try:
        for line in csv.reader(io.StringIO(content.decode()), skipinitialspace=True):
            if line:
                name, value, variants = (field.strip() for field in line)
                attributes[name] = (int(value), int(variants))
    except (ValueError, csv.Error) as error:
        raise ImageError("its attribute file is not as in Cartoon Set") from error
    return attributes
