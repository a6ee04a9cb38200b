"""The README's Python example runs as printed, and programs can be called as the documents do."""

import os
import re

import numpy as np

from tests.golden_files import ROOT


def test_python_example(monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(ROOT)
    names = {}
    exec(example, names)
    single, many = names["out"].images.numpy(), names["images"]
    assert many.shape == (16, 64, 64, 3) and np.abs(many[3] - many[14]).max() > 0.5
    np.testing.assert_allclose(many[[3, 14]], single, atol=1e-3)
    assert len(names["out"].attention) > 0
    assert "G_synthesis/64x64/Conv1" in capsys.readouterr().out


def test_programs_can_be_executed():
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    called = set(re.findall(r"^(scripts/\w+\.(?:py|sh))", text, re.MULTILINE))
    assert "scripts/train.py" in called
    assert not [name for name in called if not os.access(ROOT / name, os.X_OK)]
