"""What every program does with bad arguments, errors and interrupts."""

import errno
import os
import subprocess
import sys
import weakref

import pytest

from dnnlib.cli import ArgumentParser, run
from dnnlib.errors import UserError


def parse(*arguments):
    """Parse the arguments of a program like train.py."""
    parser = ArgumentParser(prog="train.py")
    parser.add_argument("--resolution", type=int, default=64, help="side of the pictures")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    return parser.parse_args(arguments)


def parse_command(*arguments):
    """Parse the arguments of a program with commands, like prepare_data.py."""
    parser = ArgumentParser(prog="prepare_data.py")
    parser.add_argument("--resolution", type=int)
    inspect = parser.add_subparsers(dest="command").add_parser("inspect")
    inspect.add_argument("--histogram", action="store_true")
    return parser.parse_args(arguments)


def test_help_states_defaults(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "(default: 64)" in text and "--debug" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--resoluton", "8"], 'unknown argument --resoluton; did you mean "--resolution"?'),
        (["--resoluton=8"], 'unknown argument --resoluton; did you mean "--resolution"?'),
        (["--res", "8"], "unknown argument --res"),
        (["--xyzzy"], "unknown argument --xyzzy (see"),
        (["--resolution", "eight"], "invalid int value: 'eight'"),
        (["--precision", "float8"], "invalid choice: 'float8'"),
        (["--resolution"], "expected one argument"),
        (["stray", "--kimg"], "unknown argument stray"),
    ],
)
def test_bad_arguments(arguments, reason):
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    assert reason in str(caught.value) and "--help" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["inspect", "--histogramm"], 'did you mean "--histogram"?'),
        (["inspect", "--hist"], "unknown argument --hist"),
        (["inspekt"], "invalid choice: 'inspekt'"),
        (["--resoluton", "8", "inspect"], '--resoluton; did you mean "--resolution"?'),
        (["--resoluton=8", "inspect"], '--resoluton; did you mean "--resolution"?'),
        (["--resoluton", "8", "inspect", "--histogram"], "unknown argument --resoluton;"),
        (["--resolution", "8", "inspekt", "--histogram"], "invalid choice: 'inspekt'"),
        (["--resolution", "eight", "inspect", "--histogram"], "invalid int value: 'eight'"),
        (["--resolution", "8", "inspekt", "--", "--x"], "invalid choice: 'inspekt'"),
        (["--histgram", "8", "inspect"], '--histgram; did you mean "--histogram"?'),
    ],
)
def test_bad_arguments_of_commands(arguments, reason):
    with pytest.raises(UserError) as caught:
        parse_command(*arguments)
    assert reason in str(caught.value) and "--help" in str(caught.value)


def test_misspelt_option_explains_a_required_one_that_is_missing():
    parser = ArgumentParser(prog="train.py")
    parser.add_argument("--data", required=True)
    with pytest.raises(UserError, match='unknown argument --dta; did you mean "--data"'):
        parser.parse_args(["--dta", "x"])


def test_good_arguments():
    assert parse("--resolution", "8").resolution == 8
    assert parse("--debug").debug and not parse().debug
    assert parse_command("inspect", "--histogram", "--debug").histogram


def ending_with(error):
    def main(arguments):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("no such\n  run"), "error: no such run"),
        (OSError(errno.ENOSPC, "x", "/data/a"), "error: /data/a: the disk is full"),
        (OSError(errno.EACCES, "x", "/data/a"), "error: /data/a: no permission"),
        (FileNotFoundError(errno.ENOENT, "x", "a.pkl"), "error: a.pkl: no such file or directory"),
        (FileNotFoundError("no run in\nresults"), "error: no run in results"),
        (FileNotFoundError(), "error: no such file"),
        (IsADirectoryError(errno.EISDIR, "x", "a"), "error: a: this is a directory"),
        (NotADirectoryError(errno.ENOTDIR, "x", "a/b"), "error: a/b: a part of this path"),
        (MemoryError(), "error: the memory of the device is full"),
    ],
)
def test_errors_that_the_user_can_put_right(error, line, capsys):
    assert run(ending_with(error), []) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(line) and shown.err.count("\n") == 1 and shown.out == ""


def test_debug_shows_the_traceback(capsys):
    assert run(ending_with(UserError("bad")), ["--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.EIO, "disk"), OSError("odd")])
def test_faults_of_ours_show_their_traceback_and_keep_nothing_alive(error, capsys):
    held = []

    class Reader:
        pass

    def main(arguments):
        reader = Reader()
        held.append(weakref.ref(reader))
        raise type(error)(*error.args)

    assert run(main, []) == 1
    assert held[0]() is None
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and "raise type(error)" in shown


def test_success_and_interrupt(capsys):
    seen = []
    assert run(seen.append, ["a", "b"]) == 0
    assert seen == [["a", "b"]]
    assert run(ending_with(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_arguments_of_the_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--kimg", "1"])
    seen = []
    assert run(seen.append) == 0
    assert seen == [["--kimg", "1"]]


def test_reader_that_goes_away():
    """`program | head`: no traceback, not even from the flush at exit."""
    program = (
        "import sys; from dnnlib.cli import run\n"
        "def main(arguments):\n    for _ in range(100_000): print('a line of output')\n"
        "sys.exit(run(main, []))"
    )
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 1
