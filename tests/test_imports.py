"""Imports go one way: scripts -> training -> {gansformer -> metrics, datasets} -> dnnlib."""

import ast
import subprocess
import sys

import pytest

from tests.golden_files import ROOT

ALLOWED = {
    "dnnlib": set(),
    "gansformer": {"dnnlib", "metrics"},  # the pretrained features of the projected discriminator
    "datasets": {"dnnlib"},
    "metrics": {"dnnlib"},
    "training": {"dnnlib", "gansformer", "datasets", "metrics"},
    "scripts": {"dnnlib", "gansformer", "datasets", "metrics", "training"},
}


def imported_modules(path) -> set[str]:
    """Return the modules that a file imports, and what it imports from them, with dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        packages = {name.split(".")[0] for name in imported_modules(path)}
        ours = packages & (set(ALLOWED) | {"tests"}) - {package}
        assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"


def test_programs_start_without_tensorflow():
    """So --help and --status answer at once, and TensorFlow's messages can be held back."""
    programs = [f"scripts.{path.stem}" for path in (ROOT / "scripts").glob("*.py")]
    modules = ", ".join([*programs, "gansformer", "training", "training.study.run"])
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    assert len(programs) > 10
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_only_synthesis_knows_the_fused_form():
    users = [
        path.stem
        for path in (ROOT / "gansformer").glob("*.py")
        if "gansformer.fused" in imported_modules(path)
    ]
    assert users == ["synthesis"]


def test_nothing_of_tensorflow_that_is_private():
    for package in ALLOWED:
        for path in (ROOT / package).rglob("*.py"):
            private = {n for n in imported_modules(path) if n.startswith("tensorflow.python")}
            assert not private, path
