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
