"""Parts of a data set, each prepared by a process of its own, and the data set made of them.

Part i of n has every n-th image of the source, from the i-th on. Its file holds, framed with
checksums as records are: a header in JSON; a message for each image, also for those that cannot be
used (a line of JSON, then its records); an empty message at the end. Merging does with these
images what a single run does with those that it has just converted: so the bytes are the same.
"""

import contextlib
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from datasets.conversion import Outcome
from datasets.job import TOOL, Found, Job, convert_images
from datasets.journal import PART_FILE, UNFINISHED
from datasets.labels.labeller import Labeller
from datasets.preparation import Order, Preparation
from datasets.preparing import (
    Prepared,
    count_workers,
    find_fingerprint,
    find_finished,
    opened_source,
    require_same,
    set_name,
    workspace_of,
)
from datasets.records import FOOTER_BYTES, HEADER_BYTES, RecordError, frame, read_header, unframe
from datasets.sources.source import Source
from dnnlib.errors import UserError
from dnnlib.image_folders import LeftAside
from dnnlib.progress import track


def prepare_part(
    source: str,
    out: Path,
    preparation: Preparation,
    order: Order,
    *,
    number: int,
    count: int,
    workers: int | None = None,
    strict: bool = False,
    read_as: str | None = None,
) -> int:
    """Prepare part `number` of `count`, from 1, in the directory `out`; return how many images.

    Images that cannot be used are counted. An interrupted call is continued. For the other
    arguments see `datasets.preparing.prepare`.
    """
    if not 1 <= number <= count:
        raise UserError(f"part {number}/{count}: parts are numbered from 1 to {count}")
    if order.max_images is not None:
        raise UserError(
            "--max-images cannot be divided into parts: which images are the first usable ones is "
            "known only when all before them have been read; leave it out, or leave out --part"
        )
    workers, out = count_workers(workers), Path(out)
    if find_finished(out):
        raise UserError(f"{out}: holds a whole data set; choose another --out for the part")
    with opened_source(source, out, order, read_as) as (opened, labeller):
        header = _header([number, count], opened, labeller, preparation, order)
        if (out / PART_FILE).exists():
            found = _read_header(out)
            if found != header:
                raise UserError(
                    f"{out}: holds {_describe(found)} with other options or of a source that has "
                    "changed since; choose another --out or remove that directory"
                )
            return _count_images(out)
        path = out / UNFINISHED / PART_FILE
        done = _continue(path, header)
        images = convert_images(
            opened,
            labeller,
            preparation,
            order,
            workers=workers,
            start=number - 1 + done * count,
            step=count,
        )
        with open(path, "ab") as file, contextlib.closing(images):
            if file.tell() == 0:
                file.write(frame(json.dumps(header).encode()))
            for image in track(images, label=f"preparing part {number} of {count}"):
                if strict:
                    image.require_usable()
                file.write(frame(_pack(image)))
                done += 1
            file.write(frame(b""))
            file.flush()
            os.fsync(file.fileno())
        os.replace(path, out / PART_FILE)
        return done


def _header(
    part: list[int], opened: Source, labeller: Labeller, preparation: Preparation, order: Order
) -> dict[str, Any]:
    """Return which part this is and what it has in common with the others, as it is read back."""
    header = {
        "part": part,
        "fingerprint": find_fingerprint(opened, labeller, preparation, order),
        "state": opened.state(),
        "tool": TOOL,
        "name": set_name(opened, order),
        "preparation": asdict(preparation),
        "order": asdict(order),
        "label_names": list(labeller.names),
        "source": {
            "name": opened.path.name,
            "kind": opened.kind,
            "ratio": opened.ratio,
            "left_aside": {
                "counts": dict(opened.left_aside.counts),
                "examples": opened.left_aside.examples,
            },
        },
    }
    return json.loads(json.dumps(header))


def merge(directories: Sequence[Path], out: Path) -> Prepared:
    """Make the data set of which `directories` hold all parts, in any order, in `out`.

    Its bytes, with those of `dataset.json`, are those of a single `prepare`. Raises UserError, and
    writes nothing, if a part is missing, unfinished, damaged, given twice or of something else.
    """
    out = Path(out)
    parts = _in_order([Path(directory) for directory in directories])
    header = _read_header(parts[0])
    manifest = find_finished(out)
    if manifest:
        require_same(out, manifest, header["fingerprint"])
        return Prepared(manifest, out, was_there=True)
    counts = [_count_images(directory) for directory in parts]
    total = sum(counts)
    if counts != [len(range(first, total, len(parts))) for first in range(len(parts))]:
        raise UserError(
            f"the parts hold {', '.join(map(str, counts))} images, which do not belong together; "
            "prepare the parts again, all from the same source"
        )
    labeller = Labeller()
    labeller.names = header["label_names"]
    preparation, order = Preparation(**header["preparation"]), Order(**header["order"])
    with workspace_of(out):
        source = _PreparedSource(header, total)
        job = Job(out, header["name"], source, labeller, preparation, order, header["fingerprint"])
        job.convert(_interleave(parts, start=job.items_done), strict=False)
        return Prepared(job.finish(), out, was_there=False)


class _PreparedSource(Source):
    """What the parts know of their source."""

    def __init__(self, header: dict, count: int):
        facts = header["source"]
        super().__init__(Path(facts["name"]))
        self.kind = facts["kind"]
        self.ratio = facts["ratio"]
        left_aside = facts["left_aside"]
        self.left_aside = LeftAside(Counter(left_aside["counts"]), left_aside["examples"])
        self._state = header["state"]
        self._count = count

    @property
    def count(self) -> int:
        return self._count

    def state(self) -> str:
        return self._state


_DIFFERENCES = {  # entries of the header in which all parts agree, and what it means if they do not
    "fingerprint": "other sources or options",
    "state": "the source has changed between them, or is another copy",
    "tool": "other versions of Pillow or of this program",
}


def _in_order(directories: Sequence[Path]) -> list[Path]:
    """Return the directories of all parts, part 1 first; UserError if they are not all, once."""
    first = _read_header(directories[0])
    count = first["part"][1]
    places: dict[int, Path] = {}
    for directory in directories:
        header = _read_header(directory)
        number = header["part"][0]
        both = f"{directories[0]} and {directory}"
        if header["part"][1] != count:
            raise UserError(
                f"{both}: {_describe(first)} and {_describe(header)}; give the parts of one data "
                "set, divided alike"
            )
        for name, meaning in _DIFFERENCES.items():
            if header[name] != first[name]:
                raise UserError(
                    f"{both} are parts of different data sets ({meaning}); prepare the parts again "
                    "with the same command, but for --part and --out"
                )
        if number in places:
            raise UserError(
                f"{places[number]} and {directory} are both {_describe(header)}; give each once"
            )
        places[number] = directory
    missing = [number for number in range(1, count + 1) if number not in places]
    if missing:
        raise UserError(
            f"{len(missing)} of {count} parts missing, the first is {missing[0]}/{count}; prepare "
            f"it with --part {missing[0]}/{count}, or name its directory, too"
        )
    if first["tool"] != TOOL:
        raise UserError(
            f"{directories[0]}: prepared with {first['tool']}, here is {TOOL}; merge where the "
            "parts were prepared"
        )
    return [places[number] for number in range(1, count + 1)]


def _describe(header: dict) -> str:
    number, count = header["part"]
    return f"part {number} of {count}"


def _pack(image: Found) -> bytes:
    outcome = image.outcome
    facts = {
        "name": image.name,
        "label": None if image.label is None else np.asarray(image.label).tolist(),
        "digest": outcome.digest.hex(),
        "problem": outcome.problem,
        "remarks": outcome.remarks,
        "sizes": [len(record) for record in outcome.records],
    }
    return json.dumps(facts).encode() + b"\n" + b"".join(outcome.records)


def _unpack(message: bytes) -> Found:
    line, _, packed = message.partition(b"\n")
    facts = json.loads(line)
    ends = list(itertools.accumulate(facts["sizes"], initial=0))
    records = [packed[start:end] for start, end in itertools.pairwise(ends)]
    label = None if facts["label"] is None else np.array(facts["label"], np.float32)
    digest = bytes.fromhex(facts["digest"])
    outcome = Outcome(records, digest, facts["problem"], facts["remarks"])
    return Found(facts["name"], label, outcome)


def _read_messages(path: Path) -> Iterator[bytes]:
    """Yield all messages of a part's file; RecordError where it is damaged or cut off."""
    with open(path, "rb") as file:
        while header := file.read(HEADER_BYTES):
            yield unframe(header + file.read(read_header(header) + FOOTER_BYTES))


def _read_header(directory: Path) -> dict:
    path = directory / PART_FILE
    if not path.is_file():
        begun = (directory / UNFINISHED / PART_FILE).exists()
        raise UserError(
            f"{directory}: the part in it is not finished; give its command again"
            if begun
            else f"{directory}: holds no part of a data set; give directories that prepare_data.py "
            "--part has written"
        )
    try:
        return json.loads(next(_read_messages(path)))
    except (RecordError, ValueError, StopIteration):
        raise UserError(_damaged(directory)) from None


def _count_images(directory: Path) -> int:
    """Read all of a part, checksums included, and return how many images it has."""
    count, last = 0, b""
    try:
        for message in _read_messages(directory / PART_FILE):
            count, last = count + 1, message
    except RecordError:
        raise UserError(_damaged(directory)) from None
    if last or count < 2:
        raise UserError(_damaged(directory))
    return count - 2  # without the header and the end


def _damaged(directory: Path) -> str:
    return (
        f"{directory / PART_FILE}: damaged; copy it again, or remove it and prepare the part again"
    )


def _interleave(parts: Sequence[Path], *, start: int) -> Iterator[Found]:
    """Yield the images of all parts in the order of their source, from number `start` on."""
    files = [_read_messages(directory / PART_FILE) for directory in parts]
    for file in files:
        next(file)  # the header
    for number, file in enumerate(itertools.cycle(files)):
        message = next(file)
        if not message:
            return
        if number >= start:
            yield _unpack(message)


def _continue(path: Path, header: dict) -> int:
    """Cut an unfinished part's file back to its last whole image; return how many it has.

    What is of other options or a changed source is begun again.
    """
    done, good = 0, 0
    if path.exists():
        try:
            for message in _read_messages(path):
                if good == 0 and json.loads(message) != header:
                    print(
                        f"{path.parent.parent}: what was unfinished there had another source, "
                        "changed since, or other options; starting anew",
                        file=sys.stderr,
                    )
                    break
                if good and not message:
                    break  # only moving the file to its place was left
                done += good > 0
                good += len(message) + HEADER_BYTES + FOOTER_BYTES
        except (RecordError, ValueError):
            pass  # here it was interrupted
        os.truncate(path, good)
    if done:
        print(f"{path.parent.parent}: continuing after {done} images", file=sys.stderr)
    return done
