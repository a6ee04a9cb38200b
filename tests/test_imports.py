"""Imports go one way: scripts -> training -> {gansformer, datasets, metrics} -> dnnlib."""

import ast

import pytest

from tests.golden_files import ROOT

ALLOWED = {
    "dnnlib": set(),
    "gansformer": {"dnnlib"},
    "datasets": {"dnnlib"},
    "metrics": {"dnnlib"},
    "training": {"dnnlib", "gansformer", "datasets", "metrics"},
    "scripts": {"dnnlib", "gansformer", "datasets", "metrics", "training"},
}


def imported_packages(path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        ours = imported_packages(path) & (set(ALLOWED) | {"tests"}) - {package}
        assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"
