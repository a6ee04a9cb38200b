"""Every test that asks for `live` runs with the native kernels and with the reference."""

import pytest

from dnnlib import ops
from dnnlib.errors import UserError


@pytest.fixture(params=["native", "reference"])
def live(request):
    """Make one implementation live for the test; its name."""
    try:
        ops.set_implementation(request.param)
    except UserError as error:
        pytest.skip(str(error))
    yield request.param
    ops.set_implementation("auto")


def pytest_configure():
    """Split the CPU in two devices for the strategy test, unless TensorFlow has started already."""
    import contextlib

    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
