"""Whether all of a data set is as it was written."""

from pathlib import Path

from datasets.manifest import file_digest, read_manifest
from datasets.opening import open_records
from datasets.shards import find_levels
from datasets.tools.iteration import iterate_images
from dnnlib.errors import UserError
from dnnlib.progress import track


def verify(directory: Path) -> str:
    """Check every file against the manifest and every record against its checksum; decode all.

    Returns what was checked; UserError at the first fault.
    """
    open_records(directory)  # all that can be seen from outside
    manifest = read_manifest(directory)
    for shard in track(manifest.shards if manifest else [], label="checking files", unit="file"):
        path = directory / shard.file
        if not path.exists():
            raise UserError(f"{path}: missing; copy it again or prepare the data set again")
        if file_digest(path) != shard.sha256:
            raise UserError(
                f"{path}: its content is not what dataset.json says (sha256); copy it again or "
                "prepare the data set again"
            )
    total = 0
    for level in find_levels(directory):
        records = open_records(directory, level.resolution)
        count = sum(len(file) for file in records.files)
        label = f"checking {level.resolution}x{level.resolution}"
        for _ in track(iterate_images(records, check=True), label=label, total=count):
            total += 1
    checked = f"{len(manifest.shards)} files and {total:,}" if manifest else f"{total:,}"
    return f"all right: {checked} records of {directory} checked" + (
        "" if manifest else " (no manifest to compare with)"
    )
