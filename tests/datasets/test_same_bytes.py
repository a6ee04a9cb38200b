"""Data sets of sound sources keep their bytes, version after version.

The digests were made by commit c4ed3ae (Pillow 13.0.0): python -m tests.datasets.test_same_bytes
Sources are lossless, so that they do not depend on a JPEG library.
"""

import io
import json
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.demo import DEMO_ARCHIVE
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare

HERE = Path(__file__).parent
DIGESTS = HERE / "files" / "digests.json"
COUNT = 30
MODES = ("RGB", "RGBA", "P", "L", "LA", "1", "I;16")


def stored(image: Image.Image, name: str) -> bytes:
    file = io.BytesIO()
    image.save(
        file, {"png": "PNG", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}[name[-4:].strip(".")]
    )
    return file.getvalue()


def make_sources(folder: Path) -> None:
    """Every kind of source, from the embedded images."""
    pixels = []
    (folder / "images").mkdir(parents=True)
    with zipfile.ZipFile(DEMO_ARCHIVE) as archive:
        for number, name in enumerate(sorted(archive.namelist())[:COUNT]):
            image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            pixels.append(np.asarray(image))
            path = folder / "images" / ["", "first", "second/deeper"][number % 3] / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))
    pixels = np.stack(pixels)
    np.save(folder / "planar.npy", pixels.transpose(0, 3, 1, 2))
    np.save(folder / "signed.npy", (pixels / 127.5 - 1).astype(np.float32))
    np.savez_compressed(folder / "labelled.npz", images=pixels, labels=np.arange(COUNT) % 3)
    (folder / "modes").mkdir()
    for number, mode in enumerate(MODES):
        image = Image.fromarray(pixels[number]).crop((0, 0, 64, 40 + number))
        if mode == "I;16":
            grey = np.asarray(image.convert("L")).astype(np.uint16)
            image = Image.fromarray(grey * 257)
        elif mode == "RGBA":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        elif mode == "LA":
            image = image.convert("L")
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        else:
            image = image.quantize(64) if mode == "P" else image.convert(mode)
        for ending in ("png", "tif") if mode != "I;16" else ("png",):
            (folder / "modes" / f"{number}.{ending}").write_bytes(stored(image, f".{ending}"))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "images").rglob("*.webp"), reverse=True):
            archive.write(path, path.relative_to(folder / "images"))
    for packing in ("", "gz", "bz2", "xz"):
        with tarfile.open(folder / f"a.tar{packing}", f"w:{packing}") as archive:
            archive.add(folder / "images", ".")
    names = sorted(path.name for path in (folder / "images").rglob("*.webp"))
    rows = [f"{name},{'rgb'[n % 3]},{n % 2},{n}.5" for n, name in enumerate(names)]
    (folder / "table.csv").write_text("\n".join(["filename,colour,kind,age", *rows]) + "\n")
    pairs = [[name, n % 4] for n, name in enumerate(names)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    shutil.copytree(HERE / "files" / "small_lmdb", folder / "lmdb")


CASES = {
    "demo": ("demo", {"resolution": 32}, {"max_images": 100}),
    "folder": ("images", {"resolution": 32}, {}),
    "folder, folders": ("images", {"resolution": 16}, {"labels": "folders"}),
    "folder, shuffled": ("images", {"resolution": 16}, {"seed": 123, "shards": 3}),
    "folder, official": ("images", {"resolution": 32, "all_resolutions": True}, {"shards": 2}),
    "folder, table": ("images", {"resolution": 16}, {"labels": "table.csv", "label_file": True}),
    "folder, columns": ("images", {"resolution": 16}, {"labels": "table.csv:age,kind"}),
    "folder, json": ("images", {"resolution": 16}, {"labels": "dataset.json"}),
    "zip": ("a.zip", {"resolution": 32, "filter": "box"}, {}),
    "tar": ("a.tar", {"resolution": 32, "filter": "bicubic"}, {}),
    "gz": ("a.targz", {"resolution": 32, "filter": "area"}, {}),
    "bz2": ("a.tarbz2", {"resolution": 32, "channels": "gray"}, {}),
    "xz": ("a.tarxz", {"resolution": 128}, {}),
    "planar": ("planar.npy", {"resolution": 64}, {}),
    "signed": ("signed.npy", {"resolution": 64}, {}),
    "labelled": ("labelled.npz", {"resolution": 64}, {"labels": "stored"}),
    "lmdb": ("lmdb", {"resolution": 4}, {}),
    "modes": ("modes", {"resolution": 64}, {}),
    "modes, grey": ("modes", {"resolution": 64, "channels": "gray"}, {}),
    "modes, pad": ("modes", {"resolution": 64, "crop": "pad"}, {}),
    "modes, stretch": ("modes", {"resolution": 64, "crop": "stretch"}, {}),
    "modes, ratio": ("modes", {"resolution": 64, "crop": "ratio", "ratio": 0.75}, {}),
    "modes, white": ("modes", {"resolution": 64, "alpha": "composite:white"}, {}),
}


def digests(case: str, sources: Path, out: Path) -> dict[str, str | int]:
    """Prepare a case; the sha256 of every record file, and the digest of the source."""
    source, choices, order = CASES[case]
    order = dict(order)
    if (order.get("labels") or "")[:7] in ("table.c", "dataset"):
        order["labels"] = str(sources / order["labels"])
    source = source if source == "demo" else str(sources / source)
    prepared = prepare(source, out, Preparation(**choices), Order(name="x", **order), workers=1)
    manifest = prepared.manifest
    return {
        **{shard.file: shard.sha256 for shard in manifest.shards},
        "source": manifest.source["digest"],
        "names": " ".join(manifest.label_names),
        "ratio": manifest.ratio,
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    make_sources(folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_as_before(case, sources, tmp_path):
    assert digests(case, sources, tmp_path / "set") == json.loads(DIGESTS.read_text())[case]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_sources(folder / "sources")
        found = {
            case: digests(case, folder / "sources", folder / str(number))
            for number, case in enumerate(CASES)
        }
    json.dump(found, sys.stdout, indent=1)
