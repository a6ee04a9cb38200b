"""`dataset.json`: what a prepared data set holds and how it was made."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import atomic_file

MANIFEST_FILE = "dataset.json"
FORMAT = 1
ENCODINGS = ("raw", "png")


@dataclass(frozen=True)
class Shard:
    """One record file of the set."""

    file: str
    count: int  # records
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `dataset.json` says. `count`, `resolution`: of the largest resolution stored."""

    name: str
    count: int
    resolution: int
    channels: int
    encoding: str  # "raw": C*H*W bytes a record, "png": a PNG file a record
    ratio: float  # height / width of the useful part of the square image
    label_names: list[str]
    shards: list[Shard]
    preparation: dict = field(default_factory=dict)  # crop, filter, alpha, ...
    source: dict = field(default_factory=dict)  # where the images came from, digest, skipped
    tool: dict = field(default_factory=dict)  # versions of what wrote the set
    format: int = FORMAT


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest of a data set directory, or None if it has none."""
    path = Path(directory) / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        if fields.get("format") != FORMAT:
            raise UserError(
                f"{path}: written in format {fields.get('format')}, this program reads {FORMAT}; "
                "update the program or prepare the data set again"
            )
        shards = [Shard(**shard) for shard in fields.pop("shards")]
        manifest = Manifest(shards=shards, **fields)
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: not a manifest of a data set ({error}); prepare the data set again"
        ) from error
    if manifest.encoding not in ENCODINGS or not manifest.shards or manifest.count < 1:
        raise UserError(f"{path}: makes no sense; prepare the data set again")
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> Path:
    """Write `dataset.json` in one step."""
    path = Path(directory) / MANIFEST_FILE
    with atomic_file(path, "w") as file:
        file.write(json.dumps(asdict(manifest), indent=1) + "\n")
    return path


def content_digest(shard_digests: Iterable[str]) -> str:
    """Return the digest that identifies the content of shards, given in order."""
    return hashlib.sha256("\n".join(shard_digests).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
