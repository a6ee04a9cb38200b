"""Whole preparations: same bytes whatever happens on the way, and every bad picture named."""

import errno
import fcntl
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
import datasets.conversion
from datasets.conversion import Task
from datasets.demo import DEMO_ARCHIVE
from datasets.journal import ShardWriter, locked
from datasets.preparation import Order, Preparation
from datasets.preparing import find_sizes, prepare
from datasets.shards import RecordFile
from datasets.sources.folder import Folder
from datasets.worker_pool import convert_in_order
from dnnlib.errors import UserError
from tests.datasets.conftest import ROOT, expect, prepare_data, run_script
from tests.datasets.test_dataset import TINY

SMALL = Preparation(resolution=16)


def content(directory: Path) -> dict[str, bytes]:
    """Everything that was written, but for the name of the source."""
    files = {}
    for path in sorted(directory.iterdir()):
        files[path.name] = path.read_bytes()
    return files


def content_apart_from_source(directory: Path) -> dict[str, bytes]:
    files = content(directory)
    manifest = json.loads(files["dataset.json"])
    manifest["source"] = manifest["source"]["digest"]
    del manifest["preparation"]["fingerprint"]
    return {**files, "dataset.json": manifest}


def test_same_bytes_whatever_the_number_of_workers(tmp_path):
    for workers in (1, 2, 3):
        order = Order(shards=3, max_images=150)
        prepare("demo", tmp_path / str(workers), SMALL, order, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def test_same_bytes_from_folder_and_archives(pictures, tmp_path):
    names = sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.webp"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in reversed(names):
            archive.write(pictures / name, name)
    for mode in ("", "gz", "xz", "bz2"):
        with tarfile.open(tmp_path / f"a{mode}.tar", f"w:{mode}") as archive:
            archive.add(pictures, ".")
    sources = [pictures, tmp_path / "a.zip", *sorted(tmp_path.glob("*.tar"))]
    found = []
    for number, source in enumerate(sources):
        out = tmp_path / f"set{number}"
        prepare(str(source), out, SMALL, Order(name="x"), workers=1)
        assert not (out / ".unfinished").exists()
        found.append(content_apart_from_source(out))
    assert all(each == found[0] for each in found[1:])


def test_pictures_are_taken_in_the_official_order(pictures):
    """The official program sorts the whole paths."""
    names = [item.name for item in Folder(pictures).items()]
    expected = sorted(str(path) for path in pictures.rglob("*.webp"))
    assert [str(pictures / name) for name in names] == expected


def test_order_of_names_around_the_separator(tmp_path):
    for name in ("a/1", "a-b/1", "a.b/1", "a0/1", "a", "B"):
        path = tmp_path / "folder" / (name + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = [item.name for item in Folder(tmp_path / "folder").items()]
    assert names == sorted(names) and len(names) == 6


def test_links_that_lead_back_are_left_out(pictures, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(pictures)
    (tmp_path / "set" / "back").symlink_to(tmp_path / "set")
    assert Folder(tmp_path / "set").count == 24


def test_seeded_order_is_the_official_one(pictures, tmp_path):
    """The official exporter shuffles with seed 123; golden/data/data.json has the order of 12."""
    official = [5, 0, 4, 9, 8, 7, 10, 3, 1, 6, 11, 2]
    folder = tmp_path / "twelve"
    folder.mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.webp"))[:12]):
        (folder / f"{number:02d}.webp").write_bytes(path.read_bytes())
    prepare(str(folder), tmp_path / "plain", SMALL, Order(), workers=1)
    prepare(str(folder), tmp_path / "shuffled", SMALL, Order(seed=123), workers=1)
    plain, _ = datasets.open_dataset(tmp_path / "plain").read(range(12))
    shuffled, _ = datasets.open_dataset(tmp_path / "shuffled").read(range(12))
    np.testing.assert_array_equal(shuffled, plain[official])


def test_the_same_command_twice_changes_nothing(pictures, tmp_path):
    first = prepare(str(pictures), tmp_path / "set", SMALL, Order(), workers=1)
    before = content(tmp_path / "set")
    second = prepare(str(pictures), tmp_path / "set", SMALL, Order(), workers=1)
    assert not first.was_there and second.was_there and second.manifest == first.manifest
    assert content(tmp_path / "set") == before
    with pytest.raises(UserError, match="holds another data set"):
        prepare(str(pictures), tmp_path / "set", Preparation(resolution=8), Order(), workers=1)
    assert content(tmp_path / "set") == before


def test_all_resolutions_in_the_official_form(pictures, tmp_path):
    choices = Preparation(resolution=16, all_resolutions=True)
    prepare(str(pictures), tmp_path / "set", choices, Order(name="s", shards=2), workers=1)
    names = {path.name for path in (tmp_path / "set").glob("*.tfrecords*")}
    assert names == {f"s-r0{level}.tfrecords{n}of2" for level in (2, 3, 4) for n in (1, 2)}
    dataset = datasets.open_dataset(tmp_path / "set")
    assert dataset.resolution == 16 and dataset.count == 24
    images = dataset.read(range(24))[0].astype(np.float32)
    half = images.reshape(24, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    smaller, _ = datasets.open_dataset(tmp_path / "set", resolution=8).read(range(24))
    np.testing.assert_array_equal(smaller, np.rint(half))


KILLED = """
import os, sys
from pathlib import Path
import datasets.job, datasets.journal
from datasets.journal import ShardWriter, locked
from datasets.preparation import Order, Preparation
from datasets.preparing import find_sizes, prepare
at, how, out, source = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
datasets.job.JOURNAL_EVERY_S = 0 if how == "often" else 1000
write = datasets.journal.ShardWriter.write
def write_or_die(self, image, records):
    if image == at:
        self._opened[0][0].write(records[0][:100])  # half a record
        self._opened[0][0].flush()
        os._exit(9)
    write(self, image, records)
datasets.journal.ShardWriter.write = write_or_die
move = os.replace
def move_or_die(before, after):
    if how == "moving" and "tfrecords2of" in str(after):
        os._exit(9)
    move(before, after)
os.replace = move_or_die
if __name__ == "__main__":
    prepare(source, Path(out), Preparation(resolution=16), Order(shards=3), workers=1)
"""


@pytest.mark.parametrize(
    ("at", "how"), [(0, "often"), (17, "often"), (17, "seldom"), (99, "moving")]
)
def test_killed_and_run_again_gives_the_same_bytes(pictures, tmp_path, at, how):
    out = tmp_path / "set"
    command = [sys.executable, "-c", KILLED, str(at), how, str(out), str(pictures)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 9
    assert not (out / "dataset.json").exists()
    with pytest.raises(UserError, match="same prepare_data.py command"):
        datasets.open_dataset(out)
    prepare(str(pictures), out, SMALL, Order(shards=3), workers=1)
    prepare(str(pictures), tmp_path / "expected", SMALL, Order(shards=3), workers=1)
    assert content(out) == content(tmp_path / "expected")


def wait_until(condition, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def interrupted(arguments: list, first: Path) -> subprocess.Popen:
    """Run the script and press Ctrl-C as soon as the file `first` has content."""
    script = str(ROOT / "scripts" / "prepare_data.py")
    running = subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # What a shell starts in the background, as these tests may be, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        text=True,
    )
    assert wait_until(lambda: first.exists() and first.stat().st_size > 0, 60)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: all processes get it
    return running


def test_ctrl_c_keeps_what_is_done_and_leaves_no_process(tmp_path):
    arguments = ["--resolution", 256, "--encoding", "png", "--workers", 2, "--max-images", 400]
    out = tmp_path / "set"
    first = out / ".unfinished" / "cartoonset-64-r08.tfrecords1of4"
    running = interrupted(["demo", "--out", out, *arguments], first)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert wait_until(lambda: not group_lives(running.pid), 20)
    again = run_script("demo", "--out", out, *arguments)
    assert again.returncode == 0 and "continuing after" in again.stderr, again
    run_script("demo", "--out", tmp_path / "expected", *arguments)
    assert content(out) == content(tmp_path / "expected")


def test_killed_leaves_no_process(tmp_path):
    """The workers notice that their parent is gone."""
    arguments = ["demo", "--out", tmp_path / "set", "--resolution", 512, "--workers", 2]
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "prepare_data.py"), *map(str, arguments)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    first = tmp_path / "set" / ".unfinished" / "cartoonset-64-r09.tfrecords1of4"
    assert wait_until(lambda: first.exists() and first.stat().st_size > 0, 60)
    running.kill()
    running.wait()
    assert wait_until(lambda: not group_lives(running.pid), 20)


def test_full_disk_is_told_and_can_be_continued(pictures, tmp_path, monkeypatch):
    write = ShardWriter.write
    out = tmp_path / "set"

    def write_until_full(self, image, records):
        if image == 13:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, image, records)

    monkeypatch.setattr(ShardWriter, "write", write_until_full)
    with pytest.raises(UserError, match="disk is full after 13 images.*same command again"):
        prepare(str(pictures), out, SMALL, Order(), workers=1)
    monkeypatch.undo()
    assert not (out / "dataset.json").exists()
    prepare(str(pictures), out, SMALL, Order(), workers=1)
    prepare(str(pictures), tmp_path / "expected", SMALL, Order(), workers=1)
    assert content(out) == content(tmp_path / "expected")


def test_ctrl_c_in_the_middle_of_a_picture_keeps_the_ones_before(
    pictures, tmp_path, monkeypatch, capsys
):
    write = ShardWriter.write
    out = tmp_path / "set"

    def write_interrupted(self, image, records):
        write(self, image, records)
        if image == 13:
            raise KeyboardInterrupt

    monkeypatch.setattr(ShardWriter, "write", write_interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(str(pictures), out, SMALL, Order(), workers=1)
    monkeypatch.undo()
    prepare(str(pictures), out, SMALL, Order(), workers=1)
    assert "continuing after 13 images" in capsys.readouterr().err
    prepare(str(pictures), tmp_path / "expected", SMALL, Order(), workers=1)
    assert content(out) == content(tmp_path / "expected")


def test_no_start_where_the_disk_is_too_small(pictures, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="needs about"):
        prepare(str(pictures), tmp_path / "set", SMALL, Order(), workers=1)
    assert not (tmp_path / "set").exists()


def test_two_at_once_do_not_mix(pictures, tmp_path):
    (tmp_path / "set" / ".unfinished").mkdir(parents=True)
    with (
        locked(tmp_path / "set" / ".unfinished"),
        pytest.raises(UserError, match="another prepare_data.py is writing here"),
    ):
        prepare(str(pictures), tmp_path / "set", SMALL, Order(), workers=1)


class Deadly:
    """A picture that ends the process that reads it, as the system does when memory runs out."""

    def load(self, most_bytes: int) -> bytes:
        os._exit(1)


def test_what_another_process_has_begun_is_left_alone(pictures, tmp_path):
    """Also before it has written how far it is: while it unpacks an archive, for example."""
    workspace = tmp_path / "set" / ".unfinished"
    workspace.mkdir(parents=True)
    (workspace / "source.tar").touch()
    with locked(workspace):
        found = prepare_data(pictures, "--out", tmp_path / "set")
        expect(found, "another prepare_data.py is writing here")
        assert sorted(path.name for path in workspace.iterdir()) == ["lock", "source.tar"]


def test_a_worker_ended_from_outside_is_told():
    tasks = [Task(Deadly(), None)] * 100
    with pytest.raises(UserError, match="worker process was ended.*fewer --workers"):
        list(convert_in_order(tasks, SMALL, workers=2))


def test_names_of_any_bytes(pictures, tmp_path):
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    picture = next(pictures.rglob("*.webp")).read_bytes()
    for name, data in {b"good\xff.png": picture, b"bad\xfe\n.png": b"none"}.items():
        with open(folder + b"/" + name, "wb") as file:
            file.write(data)
    found = prepare_data(tmp_path / "odd", "--out", tmp_path / "set", "--resolution", 16)
    assert found.returncode == 0 and "prepared: 1 images" in found.stdout
    assert "bad\\udcfe" in found.stdout
    strict = prepare_data(tmp_path / "odd", "--out", tmp_path / "x", "--strict")
    assert strict.returncode == 2 and "not an image" in strict.stderr


def test_preparing_needs_no_tensorflow():
    """Worker processes import what prepare_data.py imports; TensorFlow would take seconds."""
    code = "import sys, scripts.prepare_data; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_other_options_start_an_unfinished_set_again(pictures, tmp_path):
    out = tmp_path / "set"
    command = [sys.executable, "-c", KILLED, "17", "often", str(out), str(pictures)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 9
    prepare(str(pictures), out, Preparation(resolution=8), Order(shards=2), workers=1)
    prepare(str(pictures), tmp_path / "b", Preparation(resolution=8), Order(shards=2), workers=1)
    assert content(out) == content(tmp_path / "b")


@pytest.fixture
def mixed(pictures, tmp_path) -> Path:
    """Good pictures under wrong names, bad ones, and files that are none."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = sorted(pictures.rglob("*.webp"))
    for name, path in zip(("a.png", "b.jpg", "c", "d.WEBP"), good, strict=False):
        (folder / name).write_bytes(path.read_bytes())
    (folder / "bad1.png").write_bytes(good[0].read_bytes()[:500])
    (folder / "bad2.jpg").write_text("not found")
    (folder / "bad3.png").touch()
    for name in ("README.md", "list.csv", ".hidden.png", "Thumbs.db"):
        (folder / name).write_text("none")
    return folder


def test_bad_pictures_are_named_counted_and_skipped(mixed, tmp_path):
    for workers in (1, 2):
        out = tmp_path / f"set{workers}"
        found = prepare_data(mixed, "--out", out, "--resolution", 16, "--workers", workers)
        assert found.returncode == 0, found.stderr
        assert "prepared: 4 images" in found.stdout and "skipped 3" in found.stdout
        for words in (
            "bad1.png: damaged",
            "bad2.jpg: not an image",
            "bad3.png: the file is empty",
        ):
            assert words in found.stdout
        manifest = json.loads((out / "dataset.json").read_text())
        assert manifest["source"]["skipped_count"] == 3
        assert [name for name, _ in manifest["source"]["skipped"]] == [
            "bad1.png",
            "bad2.jpg",
            "bad3.png",
        ]
    assert content(tmp_path / "set1") == content(tmp_path / "set2")


def test_strict_fails_at_the_first_bad_picture(mixed, tmp_path):
    found = prepare_data(mixed, "--out", tmp_path / "set", "--resolution", 16, "--strict")
    assert found.returncode == 2 and found.stderr.count("error:") == 1
    assert "bad1.png: damaged" in found.stderr.splitlines()[-1]
    assert not (tmp_path / "set" / "dataset.json").exists()
    found = prepare_data(mixed, "--out", tmp_path / "set", "--resolution", 16)
    assert found.returncode == 0 and "prepared: 4 images" in found.stdout


def test_demo_pictures_by_word_from_any_directory(tmp_path):
    found = run_script("demo", "--out", "here", "--resolution", 32, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    dataset = datasets.open_dataset(tmp_path / "here")
    assert dataset.count == 1000 and dataset.resolution == 32
    images, _ = dataset.read(range(1000))
    np.testing.assert_allclose(images.mean((0, 1, 2)), [235.9, 225.9, 218.3], atol=1.5)
    # the mean colour of the whole Cartoon Set 10k at 64 px, from docs/data-sources.md


def test_the_demo_archive_is_what_its_notice_says():
    with zipfile.ZipFile(DEMO_ARCHIVE) as archive:
        assert len(archive.namelist()) == 1000 and archive.testzip() is None
    notice = (DEMO_ARCHIVE.parent / "NOTICE.md").read_text()
    assert "CC BY 4.0" in notice and "Google" in notice
    assert DEMO_ARCHIVE.stat().st_size < 3e6


SHARED = ROOT.parent / "shared" / "data" / "cartoonset10k-256.zip"


@pytest.mark.skipif(not SHARED.exists(), reason="the complete Cartoon Set is not on this machine")
def test_demo_pictures_are_those_of_cartoon_set(tmp_path):
    """The embedded pictures against the originals, resized by Pillow here."""
    from PIL import Image

    with zipfile.ZipFile(SHARED) as whole, zipfile.ZipFile(DEMO_ARCHIVE) as small:
        for name in sorted(small.namelist())[::100]:
            original = Image.open(io.BytesIO(whole.read(name))).convert("RGB")
            expected = np.asarray(original.resize((64, 64), Image.Resampling.LANCZOS))
            found = np.asarray(Image.open(io.BytesIO(small.read(name))).convert("RGB"))
            np.testing.assert_array_equal(found, expected)


def write_images(folder: Path, count: int = 6, seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    random = np.random.RandomState(seed)
    for number in range(count):
        Image.fromarray(random.randint(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.bmp")
    return folder


def other_content(path: Path) -> None:
    """Change pixels, not the size; and set the time of change back, as some copies do."""
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes(value ^ 255 for value in content[-9:]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


SOURCES = {
    "folder": lambda folder, path: folder,
    "tar": lambda folder, path: shutil.make_archive(str(path), "tar", folder),
    "gz": lambda folder, path: shutil.make_archive(str(path), "gztar", folder),
    "zip": lambda folder, path: shutil.make_archive(str(path), "zip", folder),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("seed", [None, 5])
def test_changed_images_are_noticed_by_time_or_content(tmp_path, kind, seed):
    folder = write_images(tmp_path / "p")
    source = str(SOURCES[kind](folder, tmp_path / "a"))
    order = Order(seed=seed)
    prepare(source, tmp_path / "set", SMALL, order, workers=1)
    before = content(tmp_path / "set")
    assert prepare(source, tmp_path / "set", SMALL, order, workers=1, check_content=True).was_there
    os.utime(folder / "3.bmp")  # touched, not changed
    for path in (folder / "3.bmp", Path(source)):
        if path.is_file():
            os.utime(path, (10**9, 10**9))
    assert prepare(source, tmp_path / "set", SMALL, order, workers=1).was_there
    assert content(tmp_path / "set") == before
    other_content(folder / "3.bmp")
    if kind != "folder":
        time.sleep(0.01)
        SOURCES[kind](folder, tmp_path / "a")
    with pytest.raises(UserError, match="content of .* has changed since|another data set"):
        prepare(source, tmp_path / "set", SMALL, order, workers=1)
    assert content(tmp_path / "set") == before


def test_check_content_reads_what_looks_the_same(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "p")
    prepare(str(folder), tmp_path / "set", SMALL, Order(), workers=1)
    monkeypatch.setattr(Folder, "state", lambda self: "always the same")
    manifest = json.loads((tmp_path / "set" / "dataset.json").read_text())
    manifest["source"]["state"] = "always the same"
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(manifest))
    other_content(folder / "3.bmp")
    assert prepare(str(folder), tmp_path / "set", SMALL, Order(), workers=1).was_there
    found = prepare_data(
        folder, "--out", tmp_path / "set", "--resolution", 16, "--check-content", "--workers", 1
    )
    expect(found, "content of", "has changed since")


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_data_set_without_one_of_its_files_is_not_there(tmp_path, pictures, damage):
    prepare(str(pictures), tmp_path / "set", SMALL, Order(name="x"), workers=1)
    path = next((tmp_path / "set").glob("*.tfrecords*"))
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path.name}: missing or not of its size"):
        prepare(str(pictures), tmp_path / "set", SMALL, Order(name="x"), workers=1)


def test_data_sets_of_earlier_versions_are_still_there(tmp_path):
    """Their manifests know nothing of times and contents."""
    folder = write_images(tmp_path / "p")
    prepare(str(folder), tmp_path / "set", SMALL, Order(), workers=1)
    manifest = json.loads((tmp_path / "set" / "dataset.json").read_text())
    for key in ("state", "content", "remarks", "left_aside"):
        del manifest["source"][key]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(manifest))
    os.utime(folder / "3.bmp", (1, 1))
    assert prepare(str(folder), tmp_path / "set", SMALL, Order(), workers=1).was_there
    with pytest.raises(UserError, match="earlier version.*remove that directory"):
        prepare(str(folder), tmp_path / "set", SMALL, Order(), workers=1, check_content=True)


def test_an_unfinished_set_of_changed_images_is_started_anew(tmp_path, pictures, capsys):
    folder = write_images(tmp_path / "p", 24)
    out = tmp_path / "set"
    command = [sys.executable, "-c", KILLED, "17", "often", str(out), str(folder)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 9
    other_content(folder / "3.bmp")
    prepare(str(folder), out, SMALL, Order(shards=3), workers=1)
    assert "starting anew" in capsys.readouterr().err
    prepare(str(folder), tmp_path / "expected", SMALL, Order(shards=3), workers=1)
    assert content(out) == content(tmp_path / "expected")


def test_attributes_that_changed_are_noticed(tmp_path):
    folder = write_images(tmp_path / "p")
    for number in range(6):
        (folder / f"{number}.csv").write_text(f'"hair", {number % 2}, 2\n')
    order = Order(labels="attributes")
    prepare(str(folder), tmp_path / "set", SMALL, order, workers=1)
    assert prepare(str(folder), tmp_path / "set", SMALL, order, workers=1).was_there
    (folder / "3.csv").write_text('"hair", 0, 2\n')
    with pytest.raises(UserError, match="has changed since"):
        prepare(str(folder), tmp_path / "set", SMALL, order, workers=1)


@pytest.mark.parametrize("where", ["folder", "tar", "zip"])
def test_a_large_file_that_is_no_image_is_not_read(tmp_path, where):
    """A video of 4 GB (a hole on the disk) among images; memory stays as it is."""
    folder = write_images(tmp_path / "p", 2)
    with open(folder / "video", "wb") as file:
        file.write(b"\0\0\0\x18ftypmp42")
        file.truncate(4 << 30 if where == "folder" else 200 << 20)
    source = SOURCES[where](folder, tmp_path / "a")
    script = str(ROOT / "scripts" / "prepare_data.py")
    command = f"ulimit -v 1500000; exec {sys.executable} {script} {source} --out {tmp_path}/set"
    found = subprocess.run(
        ["bash", "-c", f"{command} --resolution 8 --workers 1"], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert "prepared: 2 images" in found.stdout and "video: not an image" in found.stdout
    assert "(a video)" in found.stdout


@pytest.mark.parametrize("shape", [(1, 65000), (65000, 1)])
def test_bands_of_a_strip_are_bounded(tmp_path, shape):
    folder = write_images(tmp_path / "p", 1)
    Image.fromarray(np.zeros(shape, np.uint8)).save(folder / "strip.png")
    found = prepare_data(folder, "--out", tmp_path / "set", "--resolution", 8, "--crop", "pad")
    assert "prepared: 1 images" in found.stdout
    assert "strip.png: too large: its square with bands of 65000x65000" in found.stdout
    for crop in ("square", "stretch"):
        found = prepare_data(folder, "--out", tmp_path / crop, "--resolution", 8, "--crop", crop)
        assert "prepared: 2 images" in found.stdout
    found = prepare_data(folder, "--out", tmp_path / "few", "--resolution", 8, "--max-pixels", 64)
    assert "strip.png: too large" in found.stdout and "--max-pixels" in found.stdout


def test_memory_that_is_not_there_costs_one_image(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "p", 3)
    shape = datasets.conversion.shape_image
    calls = []

    def too_little(image, **options):
        calls.append(image)
        if len(calls) == 2:
            raise MemoryError
        return shape(image, **options)

    monkeypatch.setattr(datasets.conversion, "shape_image", too_little)
    found = prepare_data(folder, "--out", tmp_path / "set", "--resolution", 8, "--workers", 1)
    assert "prepared: 2 images" in found.stdout
    assert "1.bmp: needs more memory than there is" in found.stdout


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_file_systems_without_locks_and_without_fsync_of_directories(
    pictures, tmp_path, monkeypatch, number, capsys
):
    def no_lock(file, operation):
        raise OSError(number, os.strerror(number))

    sync = os.fsync

    def no_directories(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor if isinstance(descriptor, int) else 0).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(fcntl, "flock", no_lock)
    monkeypatch.setattr(os, "fsync", no_directories)
    prepared = prepare(str(pictures), tmp_path / "set", SMALL, Order(), workers=1)
    assert prepared.manifest.count == 24
    said = capsys.readouterr().err
    assert said.count("this file system has no locks") == 1


def test_rgba_from_images_to_records_and_back(tmp_path):
    """Four channels: alpha as in the file, colours as far as they are seen."""
    random = np.random.RandomState(0)
    pixels = random.randint(0, 256, (5, 16, 16, 4), np.uint8)
    pixels[0, :, :, 3] = 255
    (tmp_path / "p").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "p" / f"{number}.png")
    Image.fromarray(pixels[0, :, :, :3]).save(tmp_path / "p" / "5.png")  # opaque
    expected = np.where(pixels[..., 3:] == 0, 0, pixels)
    for encoding in ("raw", "png"):
        arguments = ["--resolution", 16, "--channels", "rgba", "--encoding", encoding]
        found = prepare_data(tmp_path / "p", "--out", tmp_path / encoding, *arguments)
        assert found.returncode == 0, found.stderr
        dataset = datasets.open_dataset(tmp_path / encoding)
        assert dataset.channels == 4 and dataset.manifest.channels == 4
        images, _ = dataset.read(range(6))
        np.testing.assert_array_equal(images[:5], expected)
        np.testing.assert_array_equal(images[5], pixels[0])
        prepare_data("extract", tmp_path / encoding, "--out", tmp_path / f"{encoding}-files")
        for number in range(5):
            path = tmp_path / f"{encoding}-files" / "00000" / f"{number:08d}.png"
            np.testing.assert_array_equal(np.asarray(Image.open(path)), expected[number])
    path = next((tmp_path / "raw").glob("*.tfrecords*"))
    features = RecordFile(path).read_features(0)
    assert features["shape"].tolist() == [4, 16, 16] and len(features["data"]) == 4 * 16 * 16
    refused = prepare_data(
        tmp_path / "p", "--out", tmp_path / "x", "--channels", "rgba", "--alpha", "composite:white"
    )
    expect(refused, "keep transparency")


@pytest.mark.parametrize("filter", ["lanczos", "box", "area", "bicubic"])
def test_what_cannot_be_seen_has_no_influence_on_smaller_images(tmp_path, filter):
    """A red disc on transparent green: no green seeps in when it is made smaller."""
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 400
    pixels = np.where(disc[..., None], [255, 0, 0, 255], [0, 255, 0, 0]).astype(np.uint8)
    (tmp_path / "p").mkdir()
    Image.fromarray(pixels).save(tmp_path / "p" / "0.png")
    choices = Preparation(16, channels="rgba", filter=filter, all_resolutions=True)
    prepare(str(tmp_path / "p"), tmp_path / "set", choices, Order(shards=1), workers=1)
    for resolution in (16, 8, 4):
        image = datasets.open_dataset(tmp_path / "set", resolution).read([0])[0][0]
        assert image[..., 1].max() == 0 and image[..., 3].max() > 240
        assert image[image[..., 3] > 30][:, 0].min() > 240
    tight = {"lanczos": 0.02, "box": 1e-6, "area": 1e-6, "bicubic": 0.02}[filter]
    alpha = datasets.open_dataset(tmp_path / "set").read([0])[0][0][..., 3].mean() / 255
    assert alpha == pytest.approx(disc.mean(), abs=tight + 1 / 255)


NAMES_OF_SIZES = {
    "powers of two": (["128/a.png", "256/a.jpg", "128/b.png", "256/b.jpg"], True),
    "FFHQ's": (["images1024x1024/0/a.png", "images64x64/0/a.png"], False),  # one level deeper
    "with words": (["t128x128/a.png", "t64x64/a.png"], True),
    "other names": (["128/a.png", "256/b.png"], False),
    "videos": (["video1/a.png", "video2/a.png"], False),
    "classes": (["cat/a.png", "dog/a.png"], False),
    "one missing": (["64/a.png", "64/b.png", "128/a.png"], False),
}


@pytest.mark.parametrize("kind", NAMES_OF_SIZES)
def test_folders_that_seem_to_be_sizes_of_the_same_images_are_told(kind):
    names, is_told = NAMES_OF_SIZES[kind]
    assert bool(find_sizes(names)) == is_told


def test_record_files_of_several_resolutions_say_which_are_read(tmp_path):
    found = prepare_data(TINY, "--out", tmp_path / "set", "--resolution", 16)
    assert found.returncode == 0 and "holds each image in 4, 8, 16; those of 16" in found.stderr
