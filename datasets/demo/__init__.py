"""About 1,000 real Cartoon Set images at 64x64, for the demo and the tests; see NOTICE.md."""

from pathlib import Path

DEMO_ARCHIVE = Path(__file__).parent / "cartoonset-64.zip"
