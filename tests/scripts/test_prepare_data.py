"""What a user gets for bad input: one line that says what to do, exit status 2, nothing written."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile

import pytest

from dnnlib.numbers import FiniteNumber, WholeNumber
from scripts.prepare_data import TOOLS, make_parser, make_tool_parser
from tests.datasets.conftest import ROOT, expect, prepare_data, run_script

OPTIONS = [
    (["--resolution", "48"], ["48", "power of two", "nearest is 32"]),
    (["--resolution", "2"], ["power of two from 4"]),
    (["--resolution", "big"], ["--resolution", "big"]),
    (["--crop", "ratio"], ["--ratio 0.75"]),
    (["--crop", "square", "--ratio", "0.5"], ["belong together"]),
    (["--ratio", "188"], ["--ratio 188: use a number from 0.05 to 20"]),
    (["--alpha", "keep"], ["keep", "composite:white"]),
    (["--alpha", "composite:whit"], ["composite:whit"]),
    (["--filter", "lanczoss"], ["lanczoss", "lanczos"]),
    (["--shards", "0"], ["--shards 0: use a whole number from 1 to 9999"]),
    (["--max-images", "0"], ["--max-images 0: use a whole number of at least 1"]),
    (["--max-images", "-3"], ["of at least 1"]),
    (["--workers", "0"], ["workers"]),
    (["--name", "a/b"], ["a/b", "letters"]),
    (["--encoding", "png", "--all-resolutions"], ["raw"]),
    (["--resoluton", "32"], ["--resoluton", "--resolution"]),
    (["--label-file"], ["--labels folders"]),
    (["--labels", "hair"], ["attribute files"]),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=lambda value: " ".join(value))
def test_bad_options(pictures, tmp_path, options, words):
    expect(prepare_data(pictures, "--out", tmp_path / "set", *options), *words)
    assert not (tmp_path / "set").exists()


def test_the_script_itself_ends_with_one_line_and_status_2(tmp_path):
    expect(run_script(tmp_path / "none", "--out", "set", cwd=tmp_path), "no such folder or file")
    assert not (tmp_path / "set").exists()
    found = run_script("--help")
    assert found.returncode == 0 and "default: 64" in found.stdout
    found = run_script(tmp_path / "none", "--out", "set", "--debug", cwd=tmp_path)
    assert found.returncode == 2 and "Traceback" in found.stderr


def test_bad_sources(pictures, tmp_path):
    out = tmp_path / "set"
    expect(prepare_data(tmp_path / "none", "--out", out), "none", "no such folder or file")
    (tmp_path / "empty").mkdir()
    expect(prepare_data(tmp_path / "empty", "--out", out), "no image")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.png").write_text("hello")
    expect(prepare_data(tmp_path / "texts", "--out", out), "no image", "a.png: not an image")
    picture = next(pictures.rglob("*.webp"))
    expect(prepare_data(picture, "--out", out), "folder")
    expect(prepare_data(), "required")
    assert not out.exists()


def test_bad_archives(pictures, tmp_path):
    out = tmp_path / "set"
    path = tmp_path / "a.zip"
    names = sorted(pictures.rglob("*.webp"))[:3]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(name, name.name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    expect(prepare_data(path, "--out", out), "a.zip")
    encrypted = bytearray(whole)
    start = whole.index(b"PK\x01\x02")
    encrypted[start + 8] |= 1
    path.write_bytes(bytes(encrypted))
    expect(prepare_data(path, "--out", out), "password")
    packed = tmp_path / "a.tgz"
    shutil.make_archive(str(tmp_path / "b"), "gztar", pictures)
    content = (tmp_path / "b.tar.gz").read_bytes()
    packed.write_bytes(content[: len(content) // 2])
    expect(prepare_data(packed, "--out", out), "a.tgz", "damaged")
    assert not out.exists()


def test_damaged_entries_of_a_zip_are_skipped(pictures, tmp_path):
    """One with wrong content, one packed in a way that is not read."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(sorted(pictures.rglob("*.webp"))[:3]):
            method = zipfile.ZIP_LZMA if number == 2 else zipfile.ZIP_STORED
            archive.write(name, f"{number}.webp", method)
        header = archive.getinfo("1.webp").header_offset
    content = bytearray(path.read_bytes())
    name_bytes, extra_bytes = struct.unpack("<HH", content[header + 26 : header + 30])
    content[header + 30 + name_bytes + extra_bytes + 100] ^= 255
    path.write_bytes(bytes(content))
    found = prepare_data(path, "--out", tmp_path / "set", "--resolution", 16)
    assert found.returncode == 0 and "prepared: 1 images" in found.stdout
    assert "1.webp: damaged (the archive's checksum" in found.stdout
    assert "2.webp: packed with method 14" in found.stdout


def test_places_that_cannot_be_written(pictures, prepared, tmp_path):
    (tmp_path / "file").write_text("x")
    expect(prepare_data(pictures, "--out", tmp_path / "file"), "file is in the way")
    expect(prepare_data(pictures, "--out", tmp_path / "file" / "set"), "file")
    expect(prepare_data(pictures, "--out", prepared), "holds another data set", "--out")
    (prepared / "dataset.json").unlink()
    expect(prepare_data(pictures, "--out", prepared), "did not come from here")
    expect(prepare_data(pictures, "--out", "/proc/none/set"), "/proc/none")


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is writable for root")
def test_directory_without_permission(pictures, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    expect(prepare_data(pictures, "--out", tmp_path / "locked" / "set"), "no permission")


def numbers_of(parser):
    """Yield (option, its range) of every option that takes a number."""
    for action in parser._actions:
        if isinstance(action.type, (WholeNumber, FiniteNumber)):
            yield action.option_strings[0], action.type
        else:
            assert action.type not in (int, float), f"{action.option_strings} has no range"


def out_of_range(kind) -> list[str]:
    values = ["nan", "inf", "-inf", "many", "", "1e999", "0x10"]
    values += ["1.5"] if isinstance(kind, WholeNumber) else []
    values += [str(kind.low - 1)] if kind.low is not None else []
    values += [str(kind.high + 1)] if kind.high is not None else []
    return values


@pytest.mark.parametrize("tool", [None, *TOOLS])
def test_every_number_has_a_range(pictures, prepared, tmp_path, tool):
    """All options of the program and its tools, with values outside; nothing is written."""
    parser = make_parser() if tool is None else make_tool_parser(tool)
    start = [pictures, "--out", tmp_path / "new"]
    if tool:
        start = [tool, prepared, *([prepared] if tool == "compare" else [])]
        start += ["--out", tmp_path / "new"] if tool == "extract" else []
    before = sorted(tmp_path.rglob("*"))
    for option, kind in numbers_of(parser):
        for value in out_of_range(kind):
            expect(prepare_data(*start, f"{option}={value}"), f"{option} {value}: use a ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["grid", "grid.xyz", "grid.jpg", "folder.png"])
def test_a_grid_that_cannot_be_written_is_told_before_anything_is_read(prepared, tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    found = prepare_data("inspect", prepared, "--grid", tmp_path / name)
    expect(found, name)
    assert "reading" not in found.stderr


def test_the_old_name_of_grid_works_and_is_told(prepared, tmp_path):
    found = prepare_data("inspect", prepared, "--sheet", tmp_path / "a.png")
    assert found.returncode == 0 and (tmp_path / "a.png").exists()
    assert found.stderr.splitlines()[0] == "--sheet is now called --grid"


def test_extract_refuses_what_is_there(prepared, tmp_path):
    (tmp_path / "file").touch()
    expect(prepare_data("extract", prepared, "--out", tmp_path / "file"), "already there")


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_names_that_a_terminal_cannot_show(pictures, tmp_path, encoding):
    folder = os.fsencode(tmp_path / "größe-日本")
    os.mkdir(folder)
    picture = next(pictures.rglob("*.webp")).read_bytes()
    names = ["ä.png".encode(), b"\xff.png", "日本.png".encode(), b"bad\xfe.png", "bäd.png".encode()]
    for name in names:
        with open(folder + b"/" + name, "wb") as file:
            file.write(b"none" if name.startswith(b"b") else picture)
    script = ROOT / "scripts" / "prepare_data.py"
    command = [sys.executable, script, folder, "--out", folder + b"/out", "--resolution", "8"]
    found = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert found.returncode == 0, found.stderr
    assert b"prepared: 3 images" in found.stdout and b"skipped 2" in found.stdout


@pytest.mark.parametrize("script", ["prepare_data", "evaluate"])
def test_ctrl_c_while_the_program_starts(tmp_path, script):
    """At any instant of the first second: no traceback."""
    path = ROOT / "scripts" / f"{script}.py"
    for delay_s in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5):
        running = subprocess.Popen(
            [sys.executable, str(path), "demo", "--out", str(tmp_path / "set")],
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            text=True,
        )
        time.sleep(delay_s)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
        starts = ("import site", "frozen", "import signal", "signal.SIG_DFL)")
        if any(words in said for words in starts):
            continue  # Python itself was starting, or the program's first two statements
        assert "Traceback" not in said, said
