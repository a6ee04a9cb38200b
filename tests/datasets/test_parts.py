"""Data sets prepared in parts: the bytes of a single run, or one clear line."""

import os
import shutil
import subprocess
import sys

import pytest

from datasets.journal import PART_FILE, UNFINISHED
from datasets.parts import merge, prepare_part
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from dnnlib.errors import UserError
from tests.datasets.conftest import ROOT, expect, prepare_data
from tests.datasets.test_preparing import content, mixed  # noqa: F401 - a fixture

SMALL = Preparation(resolution=16)


def in_parts(source, folder, *options, count: int = 3) -> list:
    """Prepare all parts with the program; return their directories."""
    directories = [folder / str(number) for number in range(1, count + 1)]
    for number, directory in enumerate(directories, 1):
        part = ["--part", f"{number}/{count}", "--out", directory]
        found = prepare_data(source, "--resolution", 16, *options, *part)
        assert found.returncode == 0, found.stderr
    return directories


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--seed", 123, "--shards", 5),
        ("--labels", "folders", "--label-file"),
        ("--all-resolutions", "--shards", 2),
        ("--encoding", "png", "--name", "other"),
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_merged_parts_have_the_bytes_of_a_single_run(pictures, tmp_path, options):
    parts = in_parts(pictures, tmp_path, *options)
    single = prepare_data(pictures, "--resolution", 16, *options, "--out", tmp_path / "single")
    assert single.returncode == 0
    merged = prepare_data("merge", parts[2], *parts[:2], "--out", tmp_path / "merged")
    assert merged.returncode == 0, merged.stderr
    assert content(tmp_path / "merged") == content(tmp_path / "single")
    assert merged.stdout == single.stdout.replace("single", "merged")
    again = prepare_data(pictures, "--resolution", 16, *options, "--out", tmp_path / "merged")
    assert again.returncode == 0 and "already there" in again.stdout
    again = prepare_data("merge", *parts, "--out", tmp_path / "merged")
    assert again.returncode == 0 and "already there" in again.stdout


@pytest.mark.parametrize("count", [1, 2, 9])  # of 7 files
def test_images_that_cannot_be_used_are_counted_in_the_order_of_the_source(mixed, tmp_path, count):  # noqa: F811
    parts = in_parts(mixed, tmp_path, "--shards", 2, count=count)
    prepare(str(mixed), tmp_path / "single", SMALL, Order(shards=2), workers=1)
    found = merge(parts, tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "single")
    assert found.manifest.source["skipped_count"] == 3 and found.manifest.source["left_aside"]


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_parts_of_archives(mixed, tmp_path, kind):  # noqa: F811
    source = shutil.make_archive(str(tmp_path / "source"), kind, mixed)
    parts = in_parts(source, tmp_path, "--shards", 3, count=2)
    prepare(source, tmp_path / "single", SMALL, Order(shards=3), workers=1)
    merge(parts, tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "single")


KILLED = """
import os, sys
from pathlib import Path
import datasets.parts
from datasets.preparation import Order, Preparation
pack, seen = datasets.parts._pack, []
def pack_or_die(image):
    seen.append(image)
    if len(seen) == 4:
        os.kill(os.getpid(), 9)
    return pack(image)
datasets.parts._pack = pack_or_die
open_file = open
datasets.parts.open = lambda path, mode: open_file(path, mode, buffering=0)
if __name__ == "__main__":
    datasets.parts.prepare_part(
        sys.argv[1], Path(sys.argv[2]), Preparation(resolution=16), Order(), number=2, count=2,
        workers=1,
    )
"""


def test_a_killed_part_is_continued(pictures, tmp_path, capsys):
    whole, part = tmp_path / "whole", tmp_path / "part"
    prepare_part(str(pictures), whole, SMALL, Order(), number=2, count=2, workers=1)
    command = [sys.executable, "-c", KILLED, str(pictures), str(part)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    unfinished = part / UNFINISHED / PART_FILE
    with open(unfinished, "ab") as file:
        file.write((whole / PART_FILE).read_bytes()[-500:-300])  # half an image
    with pytest.raises(UserError, match="the part in it is not finished"):
        merge([part], tmp_path / "merged")
    prepare_part(str(pictures), part, SMALL, Order(), number=2, count=2, workers=1)
    assert "continuing after 3 images" in capsys.readouterr().err
    assert content(part) == content(whole)


def test_an_unfinished_part_of_other_options_is_begun_again(pictures, tmp_path, capsys):
    command = [sys.executable, "-c", KILLED, str(pictures), str(tmp_path / "part")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    for folder in ("part", "whole"):
        prepare_part(
            str(pictures), tmp_path / folder, SMALL, Order(seed=1), number=2, count=2, workers=1
        )
    assert "starting anew" in capsys.readouterr().err
    assert content(tmp_path / "part") == content(tmp_path / "whole")


def test_what_does_not_belong_together_is_one_line_and_nothing_written(pictures, tmp_path):
    parts = in_parts(pictures, tmp_path, count=2)
    out = tmp_path / "merged"

    def refused(directories, *words):
        expect(prepare_data("merge", *directories, "--out", out), *words)
        assert not out.exists()

    refused(parts[:1], "1 of 2 parts missing, the first is 2/2", "--part 2/2")
    refused([*parts, parts[0]], "are both part 1 of 2")
    refused([parts[0], pictures], f"{pictures}: holds no part")
    other = tmp_path / "other"
    found = prepare_data(pictures, "--resolution", 8, "--part", "2/2", "--out", other)
    assert found.returncode == 0
    refused([parts[0], other], parts[0], other, "other sources or options")
    found = prepare_data(pictures, "--resolution", 16, "--part", "2/3", "--out", tmp_path / "3")
    assert found.returncode == 0
    refused([parts[0], tmp_path / "3"], "part 1 of 2 and part 2 of 3")
    file = parts[1] / PART_FILE
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:-16], whole[:-100] + b"?" + whole[-99:], b"", whole[:30]):
        file.write_bytes(damaged)
        refused(parts, f"{file}: damaged")
    file.write_bytes(whole)
    os.utime(next(pictures.rglob("*.webp")))
    changed = tmp_path / "changed"
    found = prepare_data(pictures, "--resolution", 16, "--part", "2/2", "--out", changed)
    assert found.returncode == 0
    refused([parts[0], changed], "the source has changed between them")


def test_a_finished_part_is_left_alone_and_other_options_refused(pictures, tmp_path):
    (part,) = in_parts(pictures, tmp_path, count=1)
    before = content(part)
    in_parts(pictures, tmp_path, count=1)
    assert content(part) == before
    options = ["--part", "1/1", "--out", part, "--resolution", 8]
    expect(prepare_data(pictures, *options), part, "part 1 of 1 with other options")
    assert content(part) == before
    prepare(str(pictures), tmp_path / "set", SMALL, Order(), workers=1)
    options = ["--part", "1/1", "--out", tmp_path / "set", "--resolution", 16]
    expect(prepare_data(pictures, *options), "holds a whole data set")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--part", "0/2"], "--part 0/2: use I/N"),
        (["--part", "3/2"], "--part 3/2: use I/N"),
        (["--part", "two"], "--part two: use I/N"),
        (["--part", "1/2", "--max-images", "5"], "--max-images cannot be divided"),
        (["--part", "1/2", "--check-content"], "--check-content has no effect with --part"),
    ],
)
def test_bad_parts(pictures, tmp_path, options, words):
    expect(prepare_data(pictures, "--out", tmp_path / "part", *options), words)
    assert not (tmp_path / "part").exists()
