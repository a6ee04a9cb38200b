"""What a user gets for bad input: one line that says what to do, exit status 2, nothing written."""

import os
import shutil
import struct
import zipfile

import pytest

from tests.datasets.conftest import expect, prepare_data, run_script

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
