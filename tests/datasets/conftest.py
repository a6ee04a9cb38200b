"""Real pictures to prepare: taken from the embedded Cartoon Set."""

import contextlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from datasets.demo import DEMO_ARCHIVE
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from dnnlib.cli import run
from scripts.prepare_data import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder of 24 real pictures (WebP, 64x64), some of them in folders inside."""
    folder = tmp_path_factory.mktemp("pictures")
    with zipfile.ZipFile(DEMO_ARCHIVE) as archive:
        for number, name in enumerate(sorted(archive.namelist())[:24]):
            path = folder / ["", "first", "second/deeper"][number % 3] / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    return folder


@pytest.fixture
def prepared(pictures, tmp_path) -> Path:
    """The 24 pictures as a data set of 16x16 in 3 files."""
    prepare(str(pictures), tmp_path / "set", Preparation(resolution=16), Order(shards=3), workers=1)
    return tmp_path / "set"


def prepare_data(*arguments: object) -> subprocess.CompletedProcess:
    """Call prepare_data.py's main function as its script does, in this process."""
    written = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(written[0]), contextlib.redirect_stderr(written[1]):
        try:
            status = run(main, [str(argument) for argument in arguments])
        except SystemExit as end:  # --help
            status = end.code
    return subprocess.CompletedProcess(arguments, status, *(file.getvalue() for file in written))


def run_script(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run scripts/prepare_data.py as a user does."""
    command = [sys.executable, str(ROOT / "scripts" / "prepare_data.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def expect(found, *words):
    """One line on stderr (after progress), status 2."""
    errors = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert found.returncode == 2, found.stderr
    assert len(errors) == 1 and "Traceback" not in found.stderr
    for word in words:
        assert str(word) in errors[0], errors[0]
