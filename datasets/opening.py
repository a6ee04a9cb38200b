"""Finding out what lies in a data set directory, with one clear error for whatever is wrong."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.journal import UNFINISHED
from datasets.manifest import MANIFEST_FILE, Manifest, Shard, read_manifest
from datasets.shards import Level, RecordFile, find_levels, is_record_file
from dnnlib.errors import MissingFile, UserError

# What the official program knew by name, for record files do not say it.
OFFICIAL_RATIOS = {"clevr": 0.75, "cityscapes": 0.5, "bedrooms": 188 / 256}


@dataclass(frozen=True)
class RecordSet:
    """The record files of one resolution, and what is known about them."""

    directory: Path
    name: str
    resolution: int
    channels: int
    ratio: float  # height / width of the useful part, 1.0 if all of it is useful
    encoding: str
    label_names: list[str]
    files: list[RecordFile]
    side_labels: np.ndarray | None  # [count, label_dim], of a NAME-rxx.labels file
    shard_digests: list[str] | None  # of the manifest
    manifest: Manifest | None


def open_records(directory: Path, resolution: int | None = None) -> RecordSet:
    """Find the record files of one resolution (the largest if None) and check them."""
    _require_directory(directory)
    manifest = read_manifest(directory)
    if (directory / UNFINISHED).exists() and not manifest:
        raise UserError(
            f"{directory}: its preparation has not ended; run the same prepare_data.py command "
            "again"
        )
    level = _choose_level(directory, find_levels(directory), manifest, resolution)
    files = [RecordFile(path) for path in level.files]
    counts = [len(file) for file in files]
    if sum(counts) == 0:
        raise UserError(f"{directory}: its record files are empty; prepare the data set again")
    if manifest:
        _compare_counts(directory, manifest, level, files)
    features = _check_first_record(next(file for file in files if len(file)), level)
    stored = features.get("label")
    side_labels = _side_labels(directory, level, counts) if stored is None else None
    label_dim = len(stored) if stored is not None else 0
    if side_labels is not None:
        label_dim = side_labels.shape[1]
    return RecordSet(
        directory=directory,
        name=manifest.name if manifest else level.name,
        resolution=level.resolution,
        channels=int(features["shape"][0]),
        ratio=min(manifest.ratio, 1.0) if manifest else OFFICIAL_RATIOS.get(level.name, 1.0),
        encoding="png" if features["data"].startswith(b"\x89PNG") else "raw",
        label_names=_label_names(directory, manifest, label_dim),
        files=files,
        side_labels=side_labels,
        shard_digests=_shard_digests(manifest, level),
        manifest=manifest,
    )


def holds_data_set(directory: Path) -> bool:
    """Say whether a directory holds a prepared data set, or what is left of one.

    A dataset.json alone may be a table of labels, as StyleGAN2-ADA has it beside images.
    """
    if not directory.is_dir():
        return False
    if any(is_record_file(path.name) for path in directory.iterdir()):
        return True
    try:
        manifest = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "shards" in manifest


def locate_images(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shard of each image and its place there, from the lengths of the shards.

    Shards are filled in turn: image m is record m div n of shard m mod n. Files that were not
    written so are read one after the other.
    """
    total, shards = sum(counts), len(counts)
    if _filled_in_turn(counts):
        places, shard_numbers = np.divmod(np.arange(total, dtype=np.int64), shards)
        return shard_numbers.astype(np.int32), places
    shard_numbers = np.repeat(np.arange(shards, dtype=np.int32), counts)
    places = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    return shard_numbers, places


def _filled_in_turn(counts: Sequence[int]) -> bool:
    total, shards = sum(counts), len(counts)
    return list(counts) == [len(range(shard, total, shards)) for shard in range(shards)]


def _require_directory(directory: Path) -> None:
    if not directory.exists():
        raise MissingFile(
            f"{directory}: no such data directory; give the directory that prepare_data.py --out "
            "wrote"
        )
    if not directory.is_dir():
        raise UserError(f"{directory}: a file; give the directory that holds the data set")


def _choose_level(
    directory: Path, levels: list[Level], manifest: Manifest | None, resolution: int | None
) -> Level:
    if not levels:
        missing = "the record files of dataset.json" if manifest else "no data set (*.tfrecords*)"
        verb = "are missing" if manifest else "here"
        raise UserError(
            f"{directory}: {missing} {verb}; prepare one with: prepare_data.py SOURCE --out "
            f"{directory}"
        )
    names = sorted({level.name for level in levels})
    if len(names) > 1:
        raise UserError(
            f"{directory}: holds several data sets ({', '.join(names)}); move each into a "
            "directory of its own"
        )
    resolutions = [level.resolution for level in levels]
    wanted = resolution or max(resolutions)
    matching = [level for level in levels if level.resolution == wanted]
    if not matching:
        have = ", ".join(map(str, resolutions))
        raise UserError(
            f"{directory}: has no images of resolution {wanted}, only {have}; choose one of these "
            f"or prepare the data set again with --resolution {wanted}"
        )
    if len(matching) > 1:
        raise UserError(
            f"{directory}: holds resolution {wanted} in several shardings; remove one of them"
        )
    return matching[0]


def _manifest_shards(manifest: Manifest, level: Level) -> dict[str, Shard]:
    wanted = {path.name for path in level.files}
    return {shard.file: shard for shard in manifest.shards if shard.file in wanted}


def _compare_counts(
    directory: Path, manifest: Manifest, level: Level, files: list[RecordFile]
) -> None:
    shards = _manifest_shards(manifest, level)
    for file in files:
        shard = shards.get(file.path.name)
        if shard is None:
            raise UserError(
                f"{directory}: {MANIFEST_FILE} knows nothing of {file.path.name}; remove that file "
                "or prepare the data set again"
            )
        if shard.count != len(file):
            raise UserError(
                f"{file.path}: holds {len(file)} records where {MANIFEST_FILE} says {shard.count}; "
                "copy the file again or prepare the data set again"
            )
    if manifest.count != sum(len(file) for file in files):
        raise UserError(
            f"{directory}: {sum(len(file) for file in files)} images where {MANIFEST_FILE} says "
            f"{manifest.count}; copy the data set again or prepare it again"
        )


def _check_first_record(file: RecordFile, level: Level) -> dict[str, bytes | np.ndarray]:
    features = file.read_features(0, check=True)
    shape = np.asarray(features.get("shape", [])).tolist()
    if "data" not in features or len(shape) != 3:
        raise UserError(
            f"{file.path}: its records hold no images (`shape` and `data` wanted, found "
            f"{sorted(features)}); prepare the images with prepare_data.py"
        )
    if shape[1:] != [level.resolution, level.resolution] or not 1 <= shape[0] <= 4:
        raise UserError(
            f"{file.path}: holds images of {shape[0]} channels, {shape[1]}x{shape[2]}, where its "
            f"name says {level.resolution}x{level.resolution}; prepare the data set again"
        )
    return features


def _side_labels(directory: Path, level: Level, counts: list[int]) -> np.ndarray | None:
    """Read `NAME-rxx.labels` ([N, c] float32) of the official program, if there is one."""
    path = directory / f"{level.name}-rxx.labels"
    if not path.exists():
        return None
    try:
        with open(path, "rb") as file:
            labels = np.lib.format.read_array(file, allow_pickle=False).astype(np.float32)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: no array of labels ({error}); write it again or remove it") from (
            error
        )
    if labels.ndim == 1:
        labels = labels[:, None]
    total = sum(counts)
    if labels.ndim != 2 or len(labels) < total:
        raise UserError(
            f"{path}: labels of {len(labels)} images where the shards hold {total}; write it again "
            "or remove it to do without labels"
        )
    if not _filled_in_turn(counts):
        raise UserError(
            f"{path}: the shards are not filled in turn, so which image a label belongs to is not "
            "known; remove it to do without labels"
        )
    return labels[:total]


def _label_names(directory: Path, manifest: Manifest | None, label_dim: int) -> list[str]:
    if manifest is None or (not manifest.label_names and label_dim):
        return [f"label{number}" for number in range(label_dim)]
    if len(manifest.label_names) != label_dim:
        raise UserError(
            f"{directory}: {MANIFEST_FILE} names {len(manifest.label_names)} label values, the "
            f"records hold {label_dim}; prepare the data set again"
        )
    return list(manifest.label_names)


def _shard_digests(manifest: Manifest | None, level: Level) -> list[str] | None:
    if manifest is None:
        return None
    shards = _manifest_shards(manifest, level)
    return [shards[path.name].sha256 for path in level.files]
