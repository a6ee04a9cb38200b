"""What a program shows of TensorFlow's messages."""

import os
import subprocess
import sys

import pytest

from tests.golden_files import ROOT

PROGRAM = """
from dnnlib.quiet import import_tensorflow
import_tensorflow()
import tensorflow as tf
for _ in range(8):
    tf.function(lambda x: x + 1)(tf.ones([2]))  # the fifth time, TensorFlow warns of retracing
"""


@pytest.mark.parametrize("level, shown", [(None, False), ("0", True)])
def test_messages_are_shown_only_on_demand(level, shown):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"TF_CPP_MIN_LOG_LEVEL": level} if level else {})
    command = [sys.executable, "-c", PROGRAM]
    messages = subprocess.run(command, env=environment, capture_output=True, text=True).stderr
    assert ("triggered tf.function retracing" in messages) == shown
    assert bool(messages) == shown, messages
