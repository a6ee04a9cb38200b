"""The Python example of docs/training.md runs as printed, with a small configuration."""

import re

import numpy as np

from tests.golden_files import ROOT


def test_example(small_config, small_data, tmp_path):
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for old, new in (
        ('"cartoonset64-duplex-cpu"', repr(str(small_config))),
        ("training.kimg=10", "training.kimg=0.012"),
        ('"data/cartoon64"', repr(str(small_data))),
        ('"runs/duplex"', repr(str(tmp_path / "run"))),
    ):
        assert old in example
        example = example.replace(old, new)
    names = {}
    exec(example, names)
    assert names["finished"] is True and names["snapshot"].kimg == 0.012
    assert len(names["images"]) == 8 and np.array(names["images"][0]).shape == (8, 8, 3)
    with np.load(tmp_path / "run" / "snapshots" / "000000.012" / "averages.npz") as averages:
        assert sorted(averages) == ["Gs"]  # what truncation pulls towards comes along
