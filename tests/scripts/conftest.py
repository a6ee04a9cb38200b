"""Images to prepare."""

from tests.datasets.conftest import pictures, prepared

__all__ = ["pictures", "prepared"]
