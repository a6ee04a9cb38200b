"""Where the golden files are, and what every test process needs."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

pytest.register_assert_rewrite("tests.training.runs")  # so that a failure shows what differs
