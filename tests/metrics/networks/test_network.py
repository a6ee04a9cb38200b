"""Features from several devices are those of one; virtual ones need a process of their own."""

import os
import subprocess
import sys

from tests.golden_files import ROOT

PROGRAM = """
import numpy as np, tensorflow as tf
from dnnlib.devices import make_strategy
strategy = make_strategy("cpu:3")
from metrics.extraction import Need, extract
from metrics.networks.network import FeatureNetwork

class Net(tf.Module):
    dimensions, preprocessing = {"mean": 4}, "none"
    def __init__(self):
        super().__init__()
        kernel = np.random.default_rng(0).normal(size=[3, 4]).astype(np.float32)
        self.kernel = tf.Variable(kernel, trainable=False)
    def __call__(self, images):
        return {"mean": tf.reduce_mean(images, [1, 2]) @ self.kernel}

alone = FeatureNetwork("one", Net(), "")
with strategy.scope():
    shared = FeatureNetwork("three", Net(), "")
    assert (alone.devices, shared.devices) == (1, 3)
    for count in (1, 2, 3, 7, 200):
        images = np.random.default_rng(count).integers(0, 256, [count, 5, 6, 3], dtype=np.uint8)
        np.testing.assert_allclose(
            shared.features(images)["mean"], alone.features(images)["mean"], rtol=1e-5, atol=1e-4
        )
    need = Need("net", "mean", "features")
    rows = [extract(iter(images), {"net": net}, [need])[need] for net in (alone, shared)]
    assert len(rows[0]) == 200
    np.testing.assert_allclose(*rows, rtol=1e-5, atol=1e-4)
print("the same")
"""


def test_several_devices_give_the_features_of_one():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.endswith("the same\n"), done.stderr
