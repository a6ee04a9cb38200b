"""Record files in the making, and a journal of how far they are, so that work can continue.

The journal is written when everything it speaks of is on disk; on continuing, files are cut back
to what the journal says. The result has the same bytes as if nothing had happened.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets.manifest import Shard
from datasets.shards import shard_file
from dnnlib.errors import UserError
from dnnlib.files import atomic_file, lock

UNFINISHED = ".unfinished"  # folder inside the data set directory while it is being prepared
JOURNAL_FILE = "progress.json"  # in there
PART_FILE = "part.images"  # see datasets.parts; while it is being written, in there


@dataclass
class Progress:
    """How far a preparation is."""

    fingerprint: str  # of source and choices
    items_done: int = 0  # images of the source looked at
    images: int = 0  # images written
    source_digest: str = ""  # of names and contents of the images written, chained
    skipped_count: int = 0
    skipped: list[list[str]] = field(default_factory=list)  # [name, reason] of the first ones
    label_sums: list[float] = field(default_factory=list)  # of all labels written, value by value
    shard_bytes: list[list[int]] = field(default_factory=list)  # [level][shard]
    state: str = ""  # of the source: its files' sizes and times
    content: str = ""  # digest of names, contents and labels of all images looked at, chained
    remarks: dict[str, list] = field(default_factory=dict)  # remark: [how often, first image]


def chain(digest: str, content: bytes) -> str:
    """Return the digest of what `digest` stands for, followed by `content`."""
    return hashlib.sha256(bytes.fromhex(digest) + content).hexdigest()


class ShardWriter:
    """The record files of all levels: image m goes to shard m mod N."""

    def __init__(self, directory: Path, name: str, levels: Sequence[int], shards: int):
        self.directory = directory
        self.files = [
            [shard_file(name, level, number + 1, shards) for number in range(shards)]
            for level in levels
        ]
        self._shards = shards
        self._opened = []
        self._digests = []
        self._sizes = []

    def start(self, progress: Progress) -> bool:
        """Open the files at the lengths that `progress` knows; False if they are not there."""
        sizes = progress.shard_bytes or [[0] * self._shards for _ in self.files]
        for names, lengths in zip(self.files, sizes, strict=True):
            for name, length in zip(names, lengths, strict=True):
                path = self.directory / name
                if (path.stat().st_size if path.exists() else 0) < length:
                    return False
                with open(path, "ab") as file:
                    file.truncate(length)
        self._opened = [
            [open(self.directory / name, "ab") for name in row]  # noqa: SIM115 - see close
            for row in self.files
        ]
        self._sizes = [list(lengths) for lengths in sizes]
        self._digests = [[_digest(self.directory / name) for name in row] for row in self.files]
        return True

    def write(self, image: int, records: Sequence[bytes]) -> None:
        """Append the records of image number `image`, one a level."""
        shard = image % self._shards
        for level, record in enumerate(records):
            self._opened[level][shard].write(record)
            self._digests[level][shard].update(record)
            self._sizes[level][shard] += len(record)

    def sizes(self) -> list[list[int]]:
        """Return the lengths of the files."""
        return [list(row) for row in self._sizes]

    def flush(self) -> None:
        """Put everything on disk."""
        for row in self._opened:
            for file in row:
                file.flush()
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files; what is not yet on disk may be lost."""
        for row in self._opened:
            for file in row:
                with suppress(OSError):  # the disk is full: the journal knows what is good
                    file.close()
        self._opened = []

    def describe(self, images: int, sizes: list[list[int]]) -> list[Shard]:
        """Return what the manifest says of the files."""
        return [
            Shard(
                file=self.files[level][shard],
                count=len(range(shard, images, self._shards)),
                bytes=sizes[level][shard],
                sha256=self._digests[level][shard].hexdigest(),
            )
            for level in range(len(self.files))
            for shard in range(self._shards)
        ]


@contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Keep a second preparation out of the same directory."""
    with open(workspace / "lock", "w") as file:
        try:
            lock(file, wait=False)
        except BlockingIOError as error:
            raise UserError(
                f"{workspace.parent}: another prepare_data.py is writing here; wait for it or "
                "choose another --out"
            ) from error
        yield


def read_journal(directory: Path) -> Progress | None:
    """Return the progress of an unfinished preparation, None if there is none to speak of."""
    try:
        return Progress(**json.loads((directory / JOURNAL_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_journal(directory: Path, progress: Progress) -> None:
    """Write the journal in one step."""
    with atomic_file(directory / JOURNAL_FILE, "w") as file:
        json.dump(asdict(progress), file)


def _digest(path: Path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest
