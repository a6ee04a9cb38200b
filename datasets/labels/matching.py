"""Which row of a table belongs to which image, by their names."""

import unicodedata
from collections.abc import Iterable, Iterator

from dnnlib.errors import UserError
from dnnlib.image_folders import printable

_Parts = tuple[str, ...]
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".dcm")


class ImageNames:
    """The images of a source, to be found by what a table calls them.

    A table may leave out folders and the ending, or write more folders than the source has; names
    are compared in Unicode's composed form, and "\\" separates folders as "/" does.
    """

    def __init__(self, root: Iterable[str], names: Iterable[str]):
        """root: the folders that the source lies in. names: of images, with "/" inside."""
        self._root = tuple(map(_normal, root))
        self._names = list(names)
        self._by_stem: dict[str, int | list[int]] = {}  # a number alone takes less memory
        for number, name in enumerate(self._names):
            stem = _stem(_split(name)[-1])
            known = self._by_stem.setdefault(stem, number)
            if known is not number:
                self._by_stem[stem] = [*(known if isinstance(known, list) else [known]), number]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> str:
        return self._names[number]

    def find(self, row: str) -> tuple[int, int] | None:
        """Return (the number of the image that a row names, how exactly), or None.

        A row that has the ending of one of several images is that one's.

        UserError if it fits several images equally well.
        """
        best: list[tuple[int, int]] = []  # (how exactly, image)
        for exactly, number in self._candidates(row):
            if not best or exactly > best[0][0]:
                best = [(exactly, number)]
            elif exactly == best[0][0] and number != best[0][1]:
                best.append((exactly, number))
        if len(best) > 1:
            names = [printable(self._names[number]) for _, number in best[:2]]
            raise UserError(
                f'"{printable(row)}" fits {names[0]} and {names[1]}; write the folders, or the '
                "endings, into the table"
            )
        return (best[0][1], best[0][0]) if best else None

    def _candidates(self, row: str) -> Iterator[tuple[int, int]]:
        """Yield (how exactly, number): first of all the ending counts, then the folders."""
        *folders, file = _split(row)
        numbers = {*self._with_stem(file), *self._with_stem(_stem(file))} if file else ()
        for number in numbers:
            *own_folders, own_file = _split(self._names[number])
            ending = 3000 if own_file == file else 2000 if _stem(own_file) == file else 1000
            if fit := self._compare_folders(tuple(folders), tuple(own_folders)):
                yield ending + fit, number

    def _with_stem(self, stem: str) -> list[int]:
        found = self._by_stem.get(stem, [])
        return found if isinstance(found, list) else [found]

    def _compare_folders(self, row: _Parts, image: _Parts) -> int:
        """Return how well the folders of a row and of an image fit; 0 if they do not.

        Best is a row that ends the image's path, the more folders the better; then an image whose
        path ends the row's.
        """
        path = self._root + image
        if row == image:
            return 900
        if not row or path[-len(row) :] == row:
            return 500 + min(len(row), 300)
        if not image or row[-len(image) :] == image:
            return 1 + min(len(image), 300)
        return 0


def has_file_ending(name: str) -> bool:
    """Say whether a text ends as the names of image files do."""
    return name.lower().endswith(_ENDINGS)


def _split(name: str) -> _Parts:
    parts = _normal(name).replace("\\", "/").split("/")
    return tuple(part for part in parts[:-1] if part not in ("", ".", "..")) + (parts[-1],)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name
