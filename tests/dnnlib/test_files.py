"""Atomic files and directories: whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from dnnlib.files import atomic_directory, atomic_file


def names_in(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "weights.bin"
    with atomic_file(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert names_in(path.parent) == ["weights.bin"]


def test_error_keeps_the_old_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_file(path, "w") as file:
        file.write("new")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["config.yaml"]


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    program = (
        "import sys; from dnnlib.files import atomic_file\n"
        "with atomic_file(sys.argv[1], 'w') as file: file.write('\\u00fc\\u6f22')"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    path = tmp_path / "names.txt"
    subprocess.run([sys.executable, "-c", program, path], env=environment, check=True)
    assert path.read_bytes() == "\u00fc\u6f22".encode()


KILLED = """
import os, signal, sys
from dnnlib.files import atomic_directory, atomic_file
with {opener}(sys.argv[1]) as opened:
    {write}
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("opener", "write"),
    [
        ("atomic_file", "opened.write(b'new'); opened.flush()"),
        ("atomic_directory", "(opened / 'a').write_text('new')"),
    ],
)
def test_killed_program_leaves_the_old_content(tmp_path, opener, write):
    path = tmp_path / "target"
    if opener == "atomic_file":
        path.write_text("old")
    else:
        path.mkdir()
        (path / "a").write_text("old")
    program = KILLED.format(opener=opener, write=write)
    done = subprocess.run([sys.executable, "-c", program, path])
    assert done.returncode == -signal.SIGKILL
    assert (path / "a" if path.is_dir() else path).read_text() == "old"


def test_directory_replaces_the_old_one(tmp_path):
    path = tmp_path / "snapshots" / "000100"
    for content in ("first", "second"):
        with atomic_directory(path) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / f"{content}.txt").write_text(content)
            assert content == "first" or names_in(path / "deep") == ["first.txt"]
    assert names_in(path / "deep") == ["second.txt"]
    assert names_in(path.parent) == ["000100"]


def test_error_keeps_the_old_directory(tmp_path):
    path = tmp_path / "snapshot"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), atomic_directory(path) as temporary:
        (temporary / "new").touch()
        raise KeyboardInterrupt
    assert names_in(tmp_path) == ["snapshot"] and names_in(path) == ["old"]
