"""Choosing the kind of a source by what it is, not by its name."""

import shutil
import zipfile
from pathlib import Path

from datasets.catalogue import CATALOGUE
from datasets.demo import DEMO_ARCHIVE
from datasets.shards import is_record_file
from datasets.sources.archive import Archive, TarArchive, ZipArchive, is_packed, is_tar
from datasets.sources.arrays import ArrayFile, is_array_file
from datasets.sources.folder import Folder
from datasets.sources.lmdb import DATA_FILE, LmdbDatabase, is_lmdb
from datasets.sources.source import Source
from datasets.sources.tfds import PREFIX as TFDS_PREFIX
from datasets.sources.tfds import TfdsBuilder
from datasets.sources.tfrecords import RecordDirectory, is_record_source
from dnnlib.archives import extract
from dnnlib.errors import MissingFile, UserError, suggest
from dnnlib.image_folders import printable

KINDS = ("images", "records", "lmdb")  # how a folder or archive can be read
_NOT_READ = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"LZIP": "lzip",
}
_MANY = 1000  # images that are counted before a message just says "many"


def open_source(
    source: str, workspace: Path, *, read_as: str | None = None, out: Path | None = None
) -> Source:
    """Open the source that a user named: a path, or a word such as `demo`.

    workspace: a directory for what has to be unpacked before it can be read. read_as: one of KINDS,
    for sources that can be read in several ways. out: the directory of the data set that is being
    made; it is no part of a source around it.
    """
    if source.startswith(TFDS_PREFIX):
        return TfdsBuilder(source)
    path = DEMO_ARCHIVE if source == "demo" else Path(source)
    if not path.exists():
        hint = suggest(source, ["demo", *CATALOGUE])
        raise MissingFile(
            f"{source}: no such folder or file{hint or '.'} Give a "
            "folder or an archive of images, demo for the embedded images, or a data set by "
            f"name ({', '.join(CATALOGUE)})"
        )
    if path.is_dir():
        return _open_folder(path, read_as, out)
    if not path.is_file():
        raise UserError(f"{source}: no folder and no file; give a folder or an archive of images")
    found = _open_file(path, workspace, read_as)
    wanted = {"records": RecordDirectory, "lmdb": LmdbDatabase}.get(read_as)
    if wanted and not isinstance(found, wanted):
        raise UserError(f"{source}: holds no {read_as}; leave out --as {read_as}")
    return found


def _open_folder(path: Path, read_as: str | None, out: Path | None) -> Source:
    holds = []
    is_output = out is not None and out.exists() and out.samefile(path)
    if is_lmdb(path):
        holds.append("lmdb")
    if not is_output and is_record_source(path):
        holds.append("records")
    images = Folder(path, out)
    if holds and read_as is None:
        count = sum(1 for _, item in zip(range(_MANY), images.items(), strict=False))
        if count:
            holds.append(f"{'many' if count == _MANY else count} images")
    chosen = _choose(path, holds, read_as)
    if chosen == "lmdb":
        return LmdbDatabase(path)
    return RecordDirectory(path) if chosen == "records" else images


def _choose(path: Path, holds: list[str], read_as: str | None) -> str:
    """Return one of KINDS. UserError if that is for the user to say, or what is wanted is missing.

    holds: lmdb and records, if they are there, and "5 images" if there are some besides.
    """
    kinds = [name.split()[-1] for name in holds]
    if read_as is None and len(holds) > 1:
        raise UserError(
            f"{path}: holds {' and '.join(holds)}; say what to read: "
            + " or ".join(f"--as {kind}" for kind in kinds)
        )
    if read_as in ("lmdb", "records") and read_as not in kinds:
        raise UserError(f"{path}: holds no {read_as}; leave out --as {read_as}")
    return read_as or (kinds[0] if kinds else "images")


def _open_file(path: Path, workspace: Path, read_as: str | None) -> Source:
    if is_lmdb(path):
        return LmdbDatabase(path)
    if is_record_source(path):
        return RecordDirectory(path)
    # Before zip and npz, which are looked for at the end of a file: a tar may end with one.
    if is_packed(path) or is_tar(path):
        archive = TarArchive(path, workspace)
        return _look_inside(archive, archive.plain, workspace, read_as)
    if is_array_file(path):
        return ArrayFile(path)
    if zipfile.is_zipfile(path):
        return _look_inside(ZipArchive(path), path, workspace, read_as)
    with open(path, "rb") as file:
        start = file.read(6)
    for mark, packing in _NOT_READ.items():
        if start.startswith(mark):
            raise UserError(f"{path}: packed with {packing}; unpack it and give the folder")
    endings = path.name.lower().split(".")[1:]
    if start.startswith(b"PK\3\4") or "zip" in endings or "tar" in endings:
        raise UserError(f"{path}: damaged archive, or cut off; get it again")
    raise UserError(
        f"{path}: not a kind of source that is known (a folder, a zip or tar file, LMDB, HDF5, "
        "npy, npz or record files); put the images into a folder"
    )


def _look_inside(archive: Archive, file: Path, workspace: Path, read_as: str | None) -> Source:
    """Return the data set inside an archive, unpacked in `workspace`, or the archive of images.

    LSUN's zips hold an LMDB database, those of the GANformer's authors record files.
    """
    holds = ["lmdb"] if archive.holds(lambda name: name == DATA_FILE) else []
    holds += ["records"] if archive.holds(is_record_file) else []
    if holds and archive.count:
        holds.append(f"{archive.count:,} images")
    if _choose(archive.path, holds, read_as) == "images":
        return archive
    unpacked = workspace / f"unpacked-{archive.identity()[:16]}"
    if not unpacked.exists():
        extract(file, unpacked, max_bytes=shutil.disk_usage(workspace).free)
    found: list[tuple[Path, type[Source]]] = []
    for directory in [unpacked, *sorted(path for path in unpacked.rglob("*") if path.is_dir())]:
        if is_lmdb(directory) and read_as != "records":
            found.append((directory, LmdbDatabase))
        if is_record_source(directory) and read_as != "lmdb":
            found.append((directory, RecordDirectory))
    if not found:
        return archive
    (directory, kind), *others = found
    source = kind(directory)
    for other, _ in others:
        source.remarks.append(
            f"read: {_inside(directory, unpacked)} of the archive; left aside: "
            f"{_inside(other, unpacked)}"
        )
    source.path = archive.path  # what messages and the manifest call it
    return source


def _inside(directory: Path, unpacked: Path) -> str:
    return printable(str(directory.relative_to(unpacked)))
