"""Progress where no terminal is, and time spans in words."""

import io
import sys

import pytest

from dnnlib import progress
from dnnlib.progress import format_duration, track


def test_every_item_comes_once_and_in_order(capsys):
    assert list(track(range(5), label="reading")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out == ""


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by one second whenever it is read."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_plain_lines_now_and_then_and_at_the_end(capsys, clock):
    list(track(range(25), label="fetching", unit="MiB", every_s=10))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "fetching: 10/25 MiB, 1.0 MiB/s, 15s left",
        "fetching: 20/25 MiB, 1.0 MiB/s, 5s left",
        "fetching: 25/25 MiB, 1.0 MiB/s",
    ]


def test_unknown_total(capsys, clock):
    list(track(iter(range(12)), label="reading", every_s=10))
    assert capsys.readouterr().err.splitlines() == [
        "reading: 10 img, 1.0 img/s",
        "reading: 12 img, 0.9 img/s",
    ]


def test_nothing_to_do(capsys):
    assert list(track([], label="reading")) == []
    assert capsys.readouterr().err.startswith("reading: 0 img")


def test_bar_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track(range(3), label="reading")) == [0, 1, 2]
    assert "reading: 100%" in terminal.getvalue() and "3/3" in terminal.getvalue()


def test_error_of_the_source_passes_through(capsys):
    def broken():
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(track(broken(), label="reading"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (42.4, "42s"),
        (59.6, "1m 00s"),
        (185, "3m 05s"),
        (3599.6, "1h 00m"),
        (8040, "2h 14m"),
        (86399.9, "1d 00h"),
        (97200, "1d 03h"),
    ],
)
def test_format_duration(seconds, words):
    assert format_duration(seconds) == words
