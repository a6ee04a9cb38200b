"""Choosing the kind of a source by what it is, not by its name."""

import zipfile
from pathlib import Path

from datasets.demo import DEMO_ARCHIVE
from datasets.sources.archive import TarArchive, ZipArchive, is_tar
from datasets.sources.folder import Folder
from datasets.sources.source import Source
from dnnlib.errors import UserError


def open_source(source: str, workspace: Path) -> Source:
    """Open the source that a user named: a path, or a word such as `demo`.

    workspace: a directory for what has to be unpacked before it can be read.
    """
    path = DEMO_ARCHIVE if source == "demo" else Path(source)
    if not path.exists():
        raise UserError(
            f"{source}: no such folder or file; give a folder or an archive of pictures, or the "
            "word demo for the embedded pictures"
        )
    if path.is_dir():
        return Folder(path)
    if zipfile.is_zipfile(path):
        return ZipArchive(path)
    if is_tar(path):
        return TarArchive(path, workspace)
    raise UserError(
        f"{source}: not a kind of source that is known (a folder, a zip or a tar file); put the "
        "pictures into a folder"
    )
