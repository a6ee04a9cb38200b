"""notebooks/gansformer.ipynb: nothing that was run is kept in it, and all of it runs."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.golden_files import ROOT

PATH = ROOT / "notebooks" / "gansformer.ipynb"
SMALL = """
RESOLUTION, IMAGES, KIMG, CHANNELS, METRICS = 8, 64, 0.016, 64, "swd64"
FRAMES, STEPS, WORK = 2, 3, Path({work!r})
"""


def cells(kind="code"):
    book = json.loads(PATH.read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def test_outputs_are_stripped():
    assert len(cells()) > 10 and len(cells("markdown")) > 10
    for cell in cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None
    numbers = [cell for cell in cells() if "parameters" in cell["metadata"].get("tags", [])]
    assert len(numbers) == 1


@pytest.mark.slow
def test_all_of_it_runs(tmp_path):
    """With small numbers; images, a video and a report of five rows are shown."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel", reason="the kernel that runs notebooks is not installed")
    book = nbformat.read(PATH, as_version=4)
    (numbers,) = [c for c in book.cells if "parameters" in c.metadata.get("tags", [])]
    numbers.source += SMALL.format(work=str(tmp_path / "work"))
    folder = {"metadata": {"path": str(PATH.parent)}}
    nbclient.NotebookClient(book, timeout=1200, kernel_name="python3", resources=folder).execute()
    shown = [out.data for c in book.cells if c.cell_type == "code" for out in c.outputs
             if "data" in out]  # fmt: skip
    images = [read(data["image/png"]) for data in shown if "image/png" in data]
    assert len(images) == 8 and all(image.std() > 10 for image in images)
    assert sum("image/gif" in data for data in shown) == 1
    (report,) = [data["text/html"] for data in shown if "iframe" in data.get("text/html", "")]
    assert "5 of 5 runs are finished" in report
    (table,) = [data["text/html"] for data in shown if "<table>" in data.get("text/html", "")]
    assert "kimg" in table
    assert len(list((tmp_path / "work").glob("study-*/*-seed0/snapshots/*"))) == 5


def read(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))
