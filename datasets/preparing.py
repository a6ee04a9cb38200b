"""From a source of images to a finished data set directory, in one call that can be repeated."""

import hashlib
import itertools
import json
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets.job import Job, convert_images, describe_content, find_tasks
from datasets.journal import JOURNAL_FILE, PART_FILE, UNFINISHED, chain, locked
from datasets.labels.choosing import choose_labeller
from datasets.labels.labeller import Labeller
from datasets.manifest import Manifest, read_manifest
from datasets.preparation import BYTES_VERSION, Order, Preparation
from datasets.sources.item import Unusable
from datasets.sources.recognition import open_source
from datasets.sources.source import Source
from datasets.worker_pool import available_cores
from dnnlib.errors import UserError
from dnnlib.image_files import MAX_PIXELS, ImageError
from dnnlib.image_folders import printable
from dnnlib.progress import track


@dataclass(frozen=True)
class Prepared:
    """What `prepare` leaves behind."""

    manifest: Manifest
    directory: Path
    was_there: bool  # the same command had already finished before
    unusable: list[list[str]] = field(default_factory=list)  # [name, reason] of files new since


def prepare(
    source: str,
    out: Path,
    preparation: Preparation,
    order: Order,
    *,
    workers: int | None = None,
    strict: bool = False,
    read_as: str | None = None,
    check_content: bool = False,
) -> Prepared:
    """Prepare the images of `source` as a data set in the directory `out`.

    The bytes of the records depend on the source, `preparation` and `order` only. If an earlier
    call was interrupted, this one continues it. strict: fail at the first image that cannot be
    used. read_as: see `open_source`. check_content: where the data set is there already, read all
    of the source rather than trust its files' sizes and times of change.
    """
    workers = count_workers(workers)
    out = Path(out)
    manifest = find_finished(out)
    with opened_source(source, out, order, read_as) as (opened, labeller):
        fingerprint = find_fingerprint(opened, labeller, preparation, order)
        if manifest:
            require_same(out, manifest, fingerprint)
            _require_same_content(
                out, manifest, opened, labeller, preparation, order, check_content
            )
            known = [name for name, _ in manifest.source["skipped"]]
            unusable = _unusable(opened, known)
            shutil.rmtree(out / UNFINISHED)
            return Prepared(manifest, out, was_there=True, unusable=unusable)
        name = set_name(opened, order)
        job = Job(out, name, opened, labeller, preparation, order, fingerprint)
        images = convert_images(
            opened, labeller, preparation, order, workers=workers, start=job.items_done
        )
        job.convert(images, strict=strict)
        return Prepared(job.finish(), out, was_there=False)


def count_workers(workers: int | None) -> int:
    """Return the number of worker processes; None: one a core."""
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers: give a positive number of processes")
    return workers or available_cores()


@contextmanager
def workspace_of(out: Path) -> Iterator[Path]:
    """Lock and yield the folder for unfinished files, and leave no such folder without use."""
    workspace = out / UNFINISHED
    workspace.mkdir(parents=True, exist_ok=True)
    with locked(workspace):
        try:
            yield workspace
        finally:  # not where another process works
            _tidy(out, workspace)


@contextmanager
def opened_source(
    source: str, out: Path, order: Order, read_as: str | None
) -> Iterator[tuple[Source, Labeller]]:
    """Open the source and what labels its images, say what is odd about them, and yield both."""
    with workspace_of(out) as workspace:
        opened = open_source(source, workspace, read_as=read_as, out=out)
        opened.remarks += find_sizes(item.name for item in opened.items())
        labeller = choose_labeller(order.labels, opened)
        for remark in (
            *(f"{opened.path}: {remark}" for remark in opened.remarks),
            *labeller.remarks,
        ):
            print(remark, file=sys.stderr)
        yield opened, labeller


def find_finished(out: Path) -> Manifest | None:
    """Return the manifest of the data set in `out`, if any; UserError if files are in the way."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file is in the way; choose another --out")
    manifest = read_manifest(out)
    unfinished = (out / UNFINISHED / JOURNAL_FILE).exists()
    if manifest is None and not unfinished and out.is_dir() and any(out.glob("*.tfrecords*")):
        raise UserError(
            f"{out}: holds record files of a data set that did not come from here; choose another "
            "--out or remove them"
        )
    return manifest


def require_same(out: Path, manifest: Manifest, fingerprint: str) -> None:
    """Raise UserError unless `out` holds, complete, the data set with this fingerprint."""
    if manifest.preparation.get("fingerprint") != fingerprint:
        raise UserError(
            f"{out}: holds another data set ({manifest.name}, {manifest.count} images of "
            f"{manifest.resolution}x{manifest.resolution}, other source or options); choose "
            "another --out or remove that directory"
        )
    for shard in manifest.shards:
        path = out / shard.file
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise UserError(
                f"{path}: missing or not of its size; remove that directory to prepare it again"
            )


def _require_same_content(
    out: Path,
    manifest: Manifest,
    source: Source,
    labeller: Labeller,
    preparation: Preparation,
    order: Order,
    check_content: bool,
) -> None:
    """Raise UserError if the source's images changed since: where its files did, all are read."""
    known = manifest.source.get("content")
    if known is None and check_content:
        raise UserError(
            f"{out}: prepared by an earlier version, which did not keep what --check-content "
            "compares; remove that directory to prepare it again"
        )
    if known is None or (manifest.source.get("state") == source.state() and not check_content):
        return
    count = manifest.source["pictures"]
    tasks = itertools.islice(find_tasks(source, labeller, order), count)
    found = ""
    for name, task in track(tasks, label=f"comparing {source.path.name}", total=count):
        digest = b""
        with suppress(ImageError):
            digest = hashlib.sha256(task.content.load(preparation.most_bytes)).digest()
        found = chain(found, describe_content(name, digest, task.label))
    if found != known:
        raise UserError(
            f"{out}: was prepared from other images: the content of {source.path} has changed "
            "since; choose another --out, or remove that directory to prepare it again"
        )


def _unusable(source: Source, known: Collection[str]) -> list[list[str]]:
    """Return [name, reason] of what can be seen to be no image (links, pipes) and is not known."""
    return [
        [printable(item.name), item.content.reason]
        for item in source.items()
        if isinstance(item.content, Unusable) and printable(item.name) not in known
    ]


def find_sizes(names: Iterable[str]) -> list[str]:
    """Return a remark if folders called after sizes (128, images256x256) hold files of one name.

    Then these are, in all likelihood, sizes of the same images, of which each is taken.
    """
    files: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}  # how many, sum of their hashes
    for name in names:
        *above, folder, file = ["", *name.split("/")]
        sizes = [int(size) for size in re.findall(r"\d+", folder)]
        if sizes and all(size >= 16 and size & (size - 1) == 0 for size in sizes):
            alike = files.setdefault(("/".join(above), re.sub(r"\d+", "#", folder)), {})
            count, total = alike.get(folder, (0, 0))
            alike[folder] = (count + 1, total + hash(file.rpartition(".")[0]))
    return [
        f"its folders {' and '.join(map(printable, sorted(alike)))} hold files of the same names; "
        "if they are sizes of the same images, give one of these folders as SOURCE (now all are "
        "taken)"
        for alike in files.values()
        if len(alike) > 1 and len(set(alike.values())) == 1
    ]


def find_fingerprint(
    source: Source, labeller: Labeller, preparation: Preparation, order: Order
) -> str:
    """Return the digest of all that determines the bytes of a data set, without reading images."""
    labels = [labeller.names, labeller.digest]
    name = set_name(source, order)
    shape = asdict(preparation)
    if preparation.max_pixels == MAX_PIXELS:
        del shape["max_pixels"]  # data sets of earlier versions keep their fingerprint
    choices = [source.identity(), labels, name, shape, asdict(order)]
    return hashlib.sha256(json.dumps([BYTES_VERSION, *choices]).encode()).hexdigest()


def set_name(source: Source, order: Order) -> str:
    """Return the name of the data set."""
    if order.name:
        return order.name
    stem = source.path.resolve().name.split(".")[0]
    return re.sub(r"[^\w+-]+", "-", stem).strip("-") or "pictures"


def _tidy(out: Path, workspace: Path) -> None:
    """Leave nothing behind that cannot be continued."""
    if not any((workspace / name).exists() for name in (JOURNAL_FILE, PART_FILE)):
        shutil.rmtree(workspace, ignore_errors=True)
        with suppress(OSError):
            out.rmdir()  # only if there is nothing in it
