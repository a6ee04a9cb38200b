"""No command-line option is swallowed: each, misspelt, is an error that names the nearest one."""

import importlib
import re

import pytest

from dnnlib.cli import run
from tests.golden_files import ROOT

PROGRAMS = sorted(
    path.stem for path in (ROOT / "scripts").glob("*.py") if "ArgumentParser(" in path.read_text()
)


def options_of(program, capsys) -> list[str]:
    """Return the long options that --help tells of."""
    with pytest.raises(SystemExit):
        program.main(["--help"])
    text = capsys.readouterr().out
    return sorted(set(re.findall(r"^  (?:-\w, )?(--[a-z][\w-]+)", text, flags=re.MULTILINE)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_misspelt_options_are_errors(name, capsys):
    program = importlib.import_module(f"scripts.{name}")
    options = options_of(program, capsys)
    assert {"--help", "--debug"} <= set(options)
    for option in options:
        for wrong in (f"{option}zq", f"{option}zq=1"):
            assert run(program.main, [wrong]) == 2
            error = capsys.readouterr().err
            assert f"unknown argument {option}zq" in error, error
            assert f'did you mean "{option}"' in error, error
            assert error.count("\n") == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_options_are_not_abbreviated(name, capsys):
    program = importlib.import_module(f"scripts.{name}")
    assert run(program.main, ["--deb"]) == 2
    assert "unknown argument --deb" in capsys.readouterr().err
