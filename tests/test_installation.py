"""The wheel: what it installs, and that its commands work beside another package `datasets`."""

import os
import re
import subprocess
import sys
import zipfile

import pytest

import gansformer
from tests.golden_files import ROOT


def packages(folder) -> set[str]:
    """Return the dotted names of all packages of the repository in `folder`."""
    found = (path.parent.relative_to(ROOT) for path in (ROOT / folder).rglob("__init__.py"))
    return {".".join(path.parts) for path in found}


@pytest.mark.slow
def test_commands_of_the_wheel(tmp_path):
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    ).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, tracked)):
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert f"-{gansformer.__version__}-" in wheel.name
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    for folder in ("gansformer", "dnnlib", "metrics"):
        assert all((site / name.replace(".", "/")).is_dir() for name in packages(folder))
    assert (site / "gansformer" / "explorer.html").is_file()
    for folder in ("datasets", "training", "scripts"):
        assert not (site / folder).exists()
        for name in packages(folder) - {"scripts.installed"}:
            assert (site / "gansformer_programs" / name.replace(".", "/")).is_dir(), name
    (site / "datasets.py").write_text("NAME = 'the other one'\n")
    commands = re.findall(
        r"(gansformer-\S+) = (\S+):(\S+)",
        (next(site.glob("*.dist-info")) / "entry_points.txt").read_text(),
    )
    assert len(commands) >= 10
    program = (
        "import datasets, gansformer, gansformer_programs, sys; assert datasets.NAME\n"
        "sys.argv = ['gansformer-prepare-data', 'demo', '--out', 'data', '--max-images', '4']\n"
        "del sys.modules['datasets']; gansformer_programs.prepare_data()"
    )
    for _, module, name in commands:
        assert module == "gansformer_programs" and (ROOT / "scripts" / f"{name}.py").is_file()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "data" / "dataset.json").is_file()


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == gansformer.__version__
