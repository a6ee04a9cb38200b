"""Folders as they are found on real machines: links, pipes, unreadable parts, files of servers."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from dnnlib.image_folders import LeftAside, may_be_image, reason_to_leave_aside, walk
from tests.datasets.conftest import prepare_data


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3), np.uint8)
    (tmp_path / "p").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "p" / f"{number}.png")
    return tmp_path / "p"


def test_names_that_are_not_tried():
    reasons = {
        "a.png": None,
        "a": None,
        "./a.png": None,
        "../b/a.png": None,
        "b.c/a.JPG": None,
        ".hidden.png": "hidden files",
        "x/.thumbnails/a.png": "hidden files",
        "._a.png": "hidden files",
        "__MACOSX/._a.png": "files of the system",
        "x/@eaDir/a.png/SYNOPHOTO_THUMB_M.png": "files of the system",
        "#recycle/a.png": "files of the system",
        "$RECYCLE.BIN/S-1/a.png": "files of the system",
        "System Volume Information/a": "files of the system",
        "lost+found/#123": "files of the system",
        "Thumbs.db": "files of the system",
        "desktop.ini": "files of the system",
        "LICENSE": "files that are no images",
        "x.csv": "files that are no images",
        "a.ZIP": "archives (unpack them, or give each by itself)",
        "x-r04.tfrecords1of4": "record files (--as records reads them)",
        "train.tfrecord-00000-of-00010": "record files (--as records reads them)",
    }
    assert {name: reason_to_leave_aside(name) for name in reasons} == reasons
    assert may_be_image("a.png") and not may_be_image("a.csv")


def test_what_cannot_be_read_is_yielded_with_its_problem(folder):
    (folder / "gone.png").symlink_to("/nonexistent/x.png")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    before = os.getcwd()
    os.chdir(folder)  # the names of sockets are short
    try:
        listener.bind("socket.png")
    finally:
        os.chdir(before)
        listener.close()
    (folder / "null.png").symlink_to("/dev/null")
    (folder / "linked.png").symlink_to(folder / "0.png")
    (folder / "more").symlink_to(folder)  # leads back
    problems = {file.name: file.problem for file in walk(folder)}
    assert problems == {
        **{f"{number}.png": None for number in range(4)},
        "gone.png": "a link that leads nowhere (/nonexistent/x.png)",
        "loop.png": "a link that leads nowhere (loop.png)",
        "pipe.png": "a named pipe, no file",
        "socket.png": "a socket, no file",
        "null.png": "a device, no file",
        "linked.png": None,
    }
    done = prepare_data(folder, "--out", folder.parent / "set", "--resolution", 8)
    assert done.returncode == 0 and "prepared: 5 images" in done.stdout
    assert "skipped 5 files" in done.stdout and "pipe.png: a named pipe" in done.stdout
    again = prepare_data(folder, "--out", folder.parent / "set", "--resolution", 8)
    assert again.returncode == 0 and "already there: 5" in again.stdout
    os.mkfifo(folder / "new.png")
    again = prepare_data(folder, "--out", folder.parent / "set", "--resolution", 8)
    assert "already there: 5" in again.stdout and "new.png: a named pipe" in again.stdout


def test_a_folder_that_cannot_be_read(folder, monkeypatch):
    (folder / "locked").mkdir()
    (folder / "locked" / "a.png").touch()
    scan = os.scandir

    def refuse(path):  # root may read everything
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {file.name: file.problem for file in walk(folder)}
    assert found["locked/"] == "a folder that cannot be read (Permission denied)"
    assert len(found) == 5


def test_directories_that_are_left_out(folder):
    (folder / "set").mkdir()
    (folder / "set" / "a.png").touch()
    assert [file.name for file in walk(folder, without=[folder / "set"])] == [
        f"{number}.png" for number in range(4)
    ]


def test_counts_of_what_is_left_aside():
    left = LeftAside()
    for name in ("a.txt", "b\udcff.txt", ".x"):
        left.add(reason_to_leave_aside(name), name)
    assert left.describe() == [
        "2 files that are no images, such as a.txt",
        "1 hidden files, such as .x",
    ]
