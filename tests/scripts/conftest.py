"""Images to prepare."""

from tests.datasets.conftest import pictures, prepared
from tests.training.conftest import small_arguments, small_config, small_data

__all__ = ["pictures", "prepared", "small_arguments", "small_config", "small_data"]
