"""Where the golden files are, and what every test process needs."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
USES_GPUS = os.environ.get("GANSFORMER_TEST_GPUS") == "1"
if not USES_GPUS:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

pytest.register_assert_rewrite("tests.training.runs")  # so that a failure shows what differs


def pytest_generate_tests(metafunc):
    """Run what is marked `gpu` on each device that TensorFlow finds."""
    if metafunc.definition.get_closest_marker("gpu"):
        metafunc.fixturenames.append("device")
        metafunc.parametrize("device", _devices(), indirect=True)


def _devices() -> list[str]:
    if not USES_GPUS:
        return ["CPU:0"]
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return [f"{d.device_type}:{d.name[-1]}" for d in tf.config.list_logical_devices()]


@pytest.fixture
def device(request):
    """The device that a test marked `gpu` runs on."""
    import tensorflow as tf

    with tf.device(request.param):
        yield request.param
