"""Which files of a folder may be images: the one way in which folders are read.

prepare_data.py takes what is left, in the order of sorted paths, and so does evaluate.py.
"""

import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Files that come along with images. Everything else is tried, whatever its name says.
_ARCHIVES = frozenset(
    (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".lz4", ".7z", ".rar")
)
_OTHER_SUFFIXES = frozenset(
    f".{suffix}"
    for suffixes in (
        "csv tsv json jsonl txt md rst html htm xml yaml yml toml ini log pdf doc docx license",
        "npy npz pkl pt pth mat h5 hdf5 labels mdb db py sh bak sha256 md5",
    )
    for suffix in suffixes.split()
)
# What file servers and desktops put beside the files of their users, in lower case.
_SYSTEM_FOLDERS = frozenset(
    (
        "__macosx",
        "@eadir",
        "@recycle",
        "@__thumb",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
    )
)
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")


def reason_to_leave_aside(name: str) -> str | None:
    """Say why a file is not worth trying, by its path inside a source; None if it is.

    name: with "/" between its parts.
    """
    *folders, last = name.lower().split("/")
    if any(folder in _SYSTEM_FOLDERS for folder in folders) or last in _SYSTEM_FILES:
        return "files of the system"
    if any(part.startswith(".") and part not in (".", "..") for part in (*folders, last)):
        return "hidden files"
    suffix = last[last.rfind(".") :] if "." in last else ""
    if suffix in _ARCHIVES:
        return "archives (unpack them, or give each by itself)"
    if suffix.startswith(".tfrecord"):
        return "record files (--as records reads them)"
    return "files that are no images" if suffix in _OTHER_SUFFIXES or last == "license" else None


def may_be_image(name: str) -> bool:
    """Say whether a file is worth trying, by its path inside a source."""
    return reason_to_leave_aside(name) is None


@dataclass
class LeftAside:
    """Counts what is not tried, by the reason, with an example of each."""

    counts: Counter = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count a file."""
        self.counts[reason] += 1
        self.examples.setdefault(reason, name)

    def describe(self) -> list[str]:
        """Return a line for each reason."""
        return [
            f"{count:,} {reason}, such as {printable(self.examples[reason])}"
            for reason, count in sorted(self.counts.items())
        ]


@dataclass(frozen=True)
class FoundFile:
    """A file of a folder. problem: why it cannot be read, if it cannot."""

    name: str  # path inside the folder, with "/"
    path: str
    status: os.stat_result | None
    problem: str | None = None


def walk(directory: Path, *, without: Collection[Path] = ()) -> Iterator[FoundFile]:
    """Yield all files below a directory in the order of their sorted paths.

    Only one folder's entries are in memory at a time: a folder sorts as its name and "/". Links
    are followed, but for those that lead back to a folder around them. What cannot be read
    (dangling links, pipes, devices, folders without permission) is yielded with its problem.
    without: directories that are left out.
    """
    left_out = set()
    for path in without:
        if path.is_dir():
            status = path.stat()
            left_out.add((status.st_dev, status.st_ino))
    yield from _walk(str(directory), "", left_out, ())


def _walk(
    directory: str,
    prefix: str,
    without: set[tuple[int, int]],
    above: tuple[tuple[int, int], ...],
) -> Iterator[FoundFile]:
    """above: what identifies the folders around this one."""
    try:
        status = os.stat(directory)
        identity = (status.st_dev, status.st_ino)
        if identity in above or (prefix and identity in without):
            return
        with os.scandir(directory) as entries:
            named = [
                (f"{entry.name}/" if _is_directory(entry) else entry.name, entry)
                for entry in entries
            ]
        ordered = sorted(named, key=lambda pair: pair[0])
    except OSError as error:
        if not prefix:
            raise
        yield FoundFile(prefix, directory, None, f"a folder that cannot be read ({error.strerror})")
        return
    for name, entry in ordered:
        if name.endswith("/"):
            yield from _walk(entry.path, prefix + name, without, (*above, identity))
        else:
            yield _look_at(prefix + name, entry)


def _is_directory(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _look_at(name: str, entry: os.DirEntry) -> FoundFile:
    try:
        status = entry.stat()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        if entry.is_symlink():
            problem = f"a link that leads nowhere ({printable(os.readlink(entry.path))})"
        return FoundFile(name, entry.path, None, problem)
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    return FoundFile(name, entry.path, status, kind and f"{kind}, no file")


def printable(name: str) -> str:
    """Return a name as any terminal shows it; names of files may be any bytes."""
    return name.encode(errors="backslashreplace").decode()
