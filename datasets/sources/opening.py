"""Choosing the kind of a source by what it is, not by its name."""

import shutil
import zipfile
from pathlib import Path

from datasets.catalogue import CATALOGUE
from datasets.demo import DEMO_ARCHIVE
from datasets.shards import is_record_file
from datasets.sources.archive import Archive, TarArchive, ZipArchive, is_tar
from datasets.sources.arrays import ArrayFile, is_array_file
from datasets.sources.folder import Folder
from datasets.sources.lmdb import DATA_FILE, LmdbDatabase, is_lmdb
from datasets.sources.source import Source
from datasets.sources.tfds import PREFIX as TFDS_PREFIX
from datasets.sources.tfds import TfdsBuilder
from datasets.sources.tfrecords import RecordDirectory, is_record_source
from dnnlib.archives import extract
from dnnlib.errors import UserError, suggest


def open_source(source: str, workspace: Path) -> Source:
    """Open the source that a user named: a path, or a word such as `demo`.

    workspace: a directory for what has to be unpacked before it can be read.
    """
    if source.startswith(TFDS_PREFIX):
        return TfdsBuilder(source)
    path = DEMO_ARCHIVE if source == "demo" else Path(source)
    if not path.exists():
        hint = suggest(source, ["demo", *CATALOGUE])
        raise UserError(
            f"{source}: no such folder or file{hint or '.'} Give a "
            "folder or an archive of images, demo for the embedded images, or a data set by "
            f"name ({', '.join(CATALOGUE)})"
        )
    if is_lmdb(path):
        return LmdbDatabase(path)
    if is_record_source(path):
        return RecordDirectory(path)
    if path.is_dir():
        return Folder(path)
    if is_array_file(path):
        return ArrayFile(path)
    if zipfile.is_zipfile(path):
        return _look_inside(ZipArchive(path), path, workspace)
    if is_tar(path):
        archive = TarArchive(path, workspace)
        return _look_inside(archive, archive.plain, workspace)
    raise UserError(
        f"{source}: not a kind of source that is known (a folder, a zip or tar file, LMDB, HDF5, "
        "npy, npz or record files); put the images into a folder"
    )


def _look_inside(archive: Archive, file: Path, workspace: Path) -> Source:
    """Return the data set inside an archive, unpacked in `workspace`, or the archive of images.

    LSUN's zips hold an LMDB database, those of the GANformer's authors record files.
    """
    if not archive.other_files(DATA_FILE) and not archive.holds(is_record_file):
        return archive
    unpacked = workspace / f"unpacked-{archive.identity()[:16]}"
    if not unpacked.exists():
        extract(file, unpacked, max_bytes=shutil.disk_usage(workspace).free)
    for directory in [unpacked, *sorted(path for path in unpacked.rglob("*") if path.is_dir())]:
        if is_lmdb(directory) or is_record_source(directory):
            source = open_source(str(directory), workspace)
            source.path = archive.path  # what messages and the manifest call it
            return source
    return archive
