"""What bench.py counts and reports."""

import json

import numpy as np
import pytest
import tensorflow as tf

from gansformer.layers import Conv, Dense
from gansformer.operations import count_multiply_adds
from gansformer.variables import Scope
from scripts.bench import main as bench


@pytest.mark.parametrize("resample, positions", [(None, 64), ("down", 16), ("up", 64)])
def test_convolution_counts(resample, positions):
    """Known shapes: positions x kernel x in x out; resampling filters do not count."""
    layer = Conv(Scope(0), 5, 7, 3, resample=resample, activation="lrelu")
    x = tf.zeros([2, 8, 8, 5])
    assert count_multiply_adds(lambda: layer(x)) == 2 * positions * 9 * 5 * 7


def test_product_counts():
    a, b = tf.zeros([2, 3, 4, 5]), tf.zeros([2, 3, 6, 5])
    assert count_multiply_adds(lambda: tf.matmul(a, b, transpose_b=True)) == 2 * 3 * 4 * 6 * 5
    assert count_multiply_adds(lambda: tf.einsum("abij,abkj->abik", a, b)) == 2 * 3 * 4 * 6 * 5
    dense = Dense(Scope(0), 5, 9)
    assert count_multiply_adds(lambda: dense(tf.zeros([4, 3, 5]))) == 4 * 3 * 5 * 9


def test_report(tiny_config, tmp_path, capsys):
    path = tmp_path / "bench.json"
    bench(["--config", str(tiny_config), "--rounds", "1", "--json", str(path)])
    report = json.loads(path.read_text())
    assert set(report) >= {
        "config", "precision", "ops", "devices", "batch", "matmul_gflops", "train", "sample",
        "peak_memory_gb",
    }  # fmt: skip
    for kind in ("train", "sample"):
        figures = report[kind]
        work = figures["img_per_sec"] * figures["gflop_per_img"]
        fraction = work / report["matmul_gflops"]["float32"]
        assert figures["fraction_of_matmul"] == pytest.approx(fraction)
        assert np.isfinite(fraction) and fraction > 0
    assert "img/s" in capsys.readouterr().out
