"""One preparation that is going on: images in, record files, journal and manifest out."""

import errno
import itertools
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL

from datasets.conversion import Outcome, Task
from datasets.journal import (
    JOURNAL_FILE,
    UNFINISHED,
    Progress,
    ShardWriter,
    chain,
    read_journal,
    write_journal,
)
from datasets.labels.labeller import Labeller
from datasets.manifest import Manifest, write_manifest
from datasets.preparation import BYTES_VERSION, Order, Preparation
from datasets.shards import RecordFile
from datasets.sources.item import Item, Unusable
from datasets.sources.source import Source
from datasets.worker_pool import convert_in_order
from dnnlib.errors import UserError
from dnnlib.files import atomic_file
from dnnlib.image_files import ImageError
from dnnlib.image_folders import printable
from dnnlib.progress import track

JOURNAL_EVERY_S = 10.0
TOOL = {"bytes_version": BYTES_VERSION, "pillow": PIL.__version__}  # what the bytes depend on
SKIPPED_NAMED = 1000  # bad images named in the manifest; the others are only counted


@dataclass(frozen=True)
class Found:
    """An image of a source, converted."""

    name: str
    label: np.ndarray | None  # [label_dim] float32
    outcome: Outcome

    def require_usable(self) -> None:
        """Raise UserError if it cannot be used."""
        if self.outcome.problem:
            raise UserError(
                f"{printable(self.name)}: {self.outcome.problem}; put it right or leave out "
                "--strict to skip it"
            )


class Job:
    """Owns the record files in the making. `convert`, then `finish`."""

    def __init__(
        self,
        out: Path,
        name: str,
        source: Source,
        labeller: Labeller,
        preparation: Preparation,
        order: Order,
        fingerprint: str,
    ):
        """fingerprint: of source and choices, without times."""
        self.out = out
        self.workspace = out / UNFINISHED
        self.name = name
        self.source = source
        self.labeller = labeller
        self.preparation = preparation
        self.order = order
        self._writer = ShardWriter(self.workspace, name, preparation.levels, order.shards)
        self._state = source.state()
        self._progress = self._continue(fingerprint) or self._start(fingerprint)

    @property
    def items_done(self) -> int:
        """How many images of the source have been looked at."""
        return self._progress.items_done

    def convert(self, found: Iterator[Found], *, strict: bool) -> None:
        """Take all images that are not yet in the files. What is done is never lost.

        found: the images of the source from number `items_done` on.
        """
        try:
            self._convert(found, strict)
            self._save()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self.out}: the disk is full after {self._progress.images} images; free some "
                "space and run the same command again, it will continue"
            ) from error
        except BaseException:
            with suppress(OSError):
                self._save()
            raise
        finally:
            self._writer.close()

    def finish(self) -> Manifest:
        """Move the files to their place, write the manifest, and return it."""
        progress = self._progress
        if not progress.images:
            shutil.rmtree(self.workspace)
            reasons = "".join(f" ({name}: {reason})" for name, reason in progress.skipped[:1])
            left_aside = "; ".join(self.source.left_aside.describe())
            raise UserError(
                f"{self.source.path}: no image that can be used among {progress.items_done} files"
                f"{reasons}; give a folder or archive of images"
                + (f" (left aside: {left_aside})" if left_aside else "")
            )
        manifest = self._manifest()
        for name in self._file_names():
            os.replace(self.workspace / name, self.out / name)
        if self.order.label_file:
            self._write_label_file()
        write_manifest(self.out, manifest)
        shutil.rmtree(self.workspace)
        return manifest

    def _write_label_file(self) -> None:
        """Write the official `NAME-rxx.labels`: a .npy [N, label_dim] float32, in image order."""
        shards = self.order.shards
        label_dim = len(self.labeller.names)
        with atomic_file(self.out / f"{self.name}-rxx.labels") as file:
            header = {
                "descr": "<f4",
                "fortran_order": False,
                "shape": (self._progress.images, label_dim),
            }
            np.lib.format.write_array_header_1_0(file, header)
            files = [RecordFile(self.out / name) for name in self._writer.files[0]]
            for image in range(self._progress.images):
                features = files[image % shards].read_features(image // shards)
                file.write(np.asarray(features["label"], "<f4").tobytes())

    def _continue(self, fingerprint: str) -> Progress | None:
        progress = read_journal(self.workspace)
        if progress is None:
            return None
        if (progress.fingerprint, progress.state) != (fingerprint, self._state):
            print(
                f"{self.out}: what was unfinished there had another source, changed since, or "
                "other options; starting anew",
                file=sys.stderr,
            )
            return None
        for name in self._file_names():  # the end may have been interrupted while moving them
            if (self.out / name).exists() and not (self.workspace / name).exists():
                os.replace(self.out / name, self.workspace / name)
        if not self._writer.start(progress):
            return None
        if progress.images:
            print(f"{self.out}: continuing after {progress.images} images", file=sys.stderr)
        return progress

    def _start(self, fingerprint: str) -> Progress:
        for path in [self.workspace / JOURNAL_FILE, *self.workspace.glob("*.tfrecords*")]:
            path.unlink(missing_ok=True)
        _check_disk(self.out, self._expected_bytes())
        progress = Progress(
            fingerprint, label_sums=[0.0] * len(self.labeller.names), state=self._state
        )
        self._writer.start(progress)
        write_journal(self.workspace, progress)
        return progress

    def _file_names(self) -> list[str]:
        return [name for row in self._writer.files for name in row]

    def _expected_images(self) -> int | None:
        known = [self.source.count, self.order.max_images]
        return min((number for number in known if number is not None), default=None)

    def _expected_bytes(self) -> int:
        choices = self.preparation
        pixels = choices.channel_count * choices.resolution**2
        share = 1.0 if choices.encoding == "raw" else 0.1  # a guess on the low side
        return int((self._expected_images() or 0) * pixels * share)

    def _convert(self, found: Iterator[Found], strict: bool) -> None:
        progress = self._progress
        total = self._expected_images()
        if total is not None:
            total = max(
                0, total - (progress.images if self.order.max_images else progress.items_done)
            )
        if progress.images == self.order.max_images:
            return
        saved = time.monotonic()
        with closing(found):
            for image in track(found, label=f"preparing {self.name}", total=total):
                self._take(image, strict)
                if time.monotonic() - saved > JOURNAL_EVERY_S:
                    self._save()
                    saved = time.monotonic()
                if self._progress.images == self.order.max_images:
                    return

    def _take(self, image: Found, strict: bool) -> None:
        name, label, outcome = image.name, image.label, image.outcome
        shown = printable(name)
        if strict:
            image.require_usable()
        progress = replace(
            self._progress,
            items_done=self._progress.items_done + 1,
            content=chain(self._progress.content, describe_content(name, outcome.digest, label)),
        )
        for remark in outcome.remarks:
            count, first = progress.remarks.get(remark, (0, shown))
            progress.remarks = {**progress.remarks, remark: [count + 1, first]}
        if outcome.problem:
            progress.skipped_count += 1
            if len(progress.skipped) < SKIPPED_NAMED:
                progress.skipped = [*progress.skipped, [shown, outcome.problem]]
        else:
            self._writer.write(progress.images, outcome.records)
            progress.shard_bytes = self._writer.sizes()
            progress.images += 1
            content = name.encode(errors="surrogateescape") + b"\0" + outcome.digest
            progress.source_digest = chain(progress.source_digest, content)
            if label is not None:
                progress.label_sums = (np.add(progress.label_sums, label)).tolist()
        self._progress = progress  # in one step: a Ctrl-C anywhere before it undoes the image

    def _save(self) -> None:
        self._writer.flush()
        write_journal(self.workspace, self._progress)

    def _manifest(self) -> Manifest:
        progress, choices, order = self._progress, self.preparation, self.order
        return Manifest(
            name=self.name,
            count=progress.images,
            resolution=choices.resolution,
            channels=choices.channel_count,
            encoding=choices.encoding,
            ratio=choices.ratio or self.source.ratio or 1.0,
            label_names=list(self.labeller.names),
            shards=self._writer.describe(progress.images, progress.shard_bytes),
            preparation={
                "crop": choices.crop,
                "filter": choices.filter,
                "alpha": choices.alpha,
                "max_images": order.max_images,
                "seed": order.seed,
                "labels": order.labels,
                "label_sums": progress.label_sums,
                "fingerprint": progress.fingerprint,
            },
            source={
                "name": self.source.path.name,
                "kind": self.source.kind,
                "digest": progress.source_digest,
                "pictures": progress.items_done,
                "skipped_count": progress.skipped_count,
                "skipped": progress.skipped,
                "left_aside": self.source.left_aside.describe(),
                "remarks": progress.remarks,
                "state": progress.state,
                "content": progress.content,
            },
            tool=TOOL,
        )


def convert_images(
    source: Source,
    labeller: Labeller,
    preparation: Preparation,
    order: Order,
    *,
    workers: int,
    start: int = 0,
    step: int = 1,
) -> Iterator[Found]:
    """Convert images number start, start + step, ... of a source, and yield them in that order."""
    waiting: deque[tuple[str, np.ndarray | None]] = deque()  # images that are being worked on

    def tasks() -> Iterator[Task]:
        every = find_tasks(source, labeller, order)
        for name, task in itertools.islice(every, start, None, step):
            waiting.append((name, task.label))
            yield task

    with closing(convert_in_order(tasks(), preparation, workers=workers)) as outcomes:
        for outcome in outcomes:
            yield Found(*waiting.popleft(), outcome)


def find_tasks(source: Source, labeller: Labeller, order: Order) -> Iterator[tuple[str, Task]]:
    """Yield (name, task) for all images of a source, in the order in which they are prepared."""
    items: Iterable[Item] = source.items()
    if order.seed is not None:
        listed = list(items)
        numbers = np.arange(len(listed))
        np.random.RandomState(order.seed).shuffle(numbers)  # noqa: NPY002 - as officially
        items = (listed[number] for number in numbers)
    for item in items:
        try:
            yield item.name, Task(item.content, labeller.label(item))
        except ImageError as error:
            yield item.name, Task(Unusable(str(error)), None)


def describe_content(name: str, digest: bytes, label: np.ndarray | None) -> bytes:
    """Return what a digest of all images takes of one of them. digest: of its file."""
    packed = b"" if label is None else np.ascontiguousarray(label, "<f4").tobytes()
    return name.encode(errors="surrogateescape") + b"\0" + digest + packed


def _check_disk(out: Path, wanted_bytes: int) -> None:
    free = shutil.disk_usage(out).free
    if wanted_bytes > free:
        raise UserError(
            f"{out}: the data set needs about {wanted_bytes / 1e6:,.0f} MB and only "
            f"{free / 1e6:,.0f} MB are free; free some space, choose another --out, or a smaller "
            "--resolution"
        )
