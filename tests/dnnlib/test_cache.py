"""Where caches lie, also on machines without a home."""

import os
import tempfile
from pathlib import Path

import pytest

from dnnlib import cache
from dnnlib.cache import cache_directory, is_writable
from dnnlib.errors import UserError


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home and a folder for temporary files; nothing was said yet."""
    monkeypatch.delenv("GANSFORMER_CACHE", raising=False)
    monkeypatch.setattr(cache, "_said", set())
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def test_the_variable_holds_for_everything(machine, monkeypatch):
    monkeypatch.setenv("GANSFORMER_CACHE", str(machine / "mine"))
    assert cache_directory("metrics") == machine / "mine" / "metrics"
    monkeypatch.setenv("GANSFORMER_CACHE", "~/mine")
    assert cache_directory("data") == machine / "home" / "mine" / "data"


def test_the_home_is_the_default(machine, capsys):
    assert cache_directory("data") == machine / "home" / ".cache" / "gansformer" / "data"
    assert capsys.readouterr().err == "" and not any((machine / "home").iterdir())


@pytest.mark.parametrize("home", [None, "/", "/proc/nowhere", "file"])
def test_without_a_home_temporary_files_serve_and_that_is_said(machine, monkeypatch, home, capsys):
    (machine / "file").touch()
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no entry in passwd
    else:
        monkeypatch.setenv("HOME", str(machine / "file") if home == "file" else home)
    expected = machine / "temporary" / f"gansformer-{os.getuid()}"
    for _ in range(2):
        assert cache_directory("metrics") == expected / "metrics"
    assert capsys.readouterr().err.count("set GANSFORMER_CACHE to choose another place") == 1
    assert expected.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_somebody_else_is_not_trusted(machine, monkeypatch):
    monkeypatch.setenv("HOME", "/")
    elsewhere = machine / "elsewhere"
    elsewhere.mkdir()
    (machine / "temporary" / f"gansformer-{os.getuid()}").symlink_to(elsewhere)
    found = cache_directory("metrics")
    assert found.parent.parent == machine / "temporary" and elsewhere not in found.resolve().parents


def test_where_nothing_can_be_written_one_line_says_what_to_do(machine, monkeypatch):
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(tempfile, "tempdir", None)

    def refuse():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    with pytest.raises(UserError, match="set GANSFORMER_CACHE to a folder"):
        cache_directory("metrics")


def test_what_can_be_written(tmp_path):
    assert is_writable(tmp_path) and is_writable(tmp_path / "not" / "yet" / "there")
    (tmp_path / "file").touch()
    assert not is_writable(tmp_path / "file") and not is_writable(tmp_path / "file" / "x")
    assert not is_writable(Path("/proc/nowhere"))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
