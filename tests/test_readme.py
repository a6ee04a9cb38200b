"""The README's Python example runs as printed."""

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
