"""Data sets that are known by name: where they are, and how the paper's authors prepared them."""

from dataclasses import dataclass
from pathlib import Path

from dnnlib.downloads import Artefact, fetch

_DRIVE = "https://drive.google.com/uc?id="
_CARTOONS = "https://huggingface.co/datasets/cgarciae/cartoonset/resolve/1.0.0/data/"
_GOOGLE = "https://storage.googleapis.com/storage/v1/b/cartoonset_public_files/o/"


@dataclass(frozen=True)
class Entry:
    """A data set to be had by name."""

    artefact: Artefact
    description: str
    ratio: float | None = None  # of the authors' crop, for images that are not cropped yet
    licence: str = ""


def _cartoons(size: str, bytes_: int | None, sha256: str) -> Artefact:
    file = f"cartoonset{size}.tgz"
    return Artefact(
        name=f"Cartoon Set {size}",
        file_name=file,
        urls=(f"{_CARTOONS}{file}", f"{_GOOGLE}{file}?alt=media"),
        size=bytes_,
        sha256=sha256,
        note="See https://google.github.io/cartoonset/download.html",
    )


CATALOGUE = {
    "cartoonset10k": Entry(
        _cartoons("10k", None, "902145ad5096af10ca9ee200b648e2a60e8b6b83dd2f4dc5356817988be8ff43"),
        "10,000 cartoon faces with 18 attributes, 500x500",
        licence="CC BY 4.0, Google LLC",
    ),
    "cartoonset100k": Entry(
        _cartoons(
            "100k",
            4_766_442_036,
            "541dffe1016b10e8177dd534188fa729c8ed9111734498c405d55e47aae1a2a6",
        ),
        "100,000 cartoon faces with 18 attributes, 500x500",
        licence="CC BY 4.0, Google LLC",
    ),
    "clevr": Entry(
        Artefact(
            name="CLEVR v1.0",
            file_name="CLEVR_v1.0.zip",
            urls=("https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip",),
            size=19_021_600_724,
            sha256="5cd61cf1096ed20944df93c9adb31e74d189b8459a94f54ba00090e5c59936d1",
            md5="b11922020e72d0cd9154779b2d3d07d2",
        ),
        "100,000 scenes of simple bodies, 480x320",
        ratio=0.75,
        licence="CC BY 4.0",
    ),
    "clevr-official": Entry(
        Artefact(
            name="CLEVR as prepared by the GANformer authors",
            file_name="clevr.zip",
            urls=(f"{_DRIVE}1lY4JE30yk26v0MWHNpXBOMzltufUcTXj",),
            md5="3040bb20a29cd2f0e1e9231aebddf2a1",
        ),
        "the GANformer authors' record files, 256x256",
    ),
    "bedrooms": Entry(
        Artefact(
            name="LSUN bedrooms",
            file_name="bedroom_train_lmdb.zip",
            urls=("http://dl.yf.io/lsun/scenes/bedroom_train_lmdb.zip",),
            size=45_922_737_680,
            sha256="a15644c2e7153106867f0adb3491fc41224102d1f01b24494fb47d9f5d1f174e",
            md5="f2c5d904a82a6295dbdccb322b4b0a99",
        ),
        "3,033,042 bedrooms, short side 256",
        ratio=188 / 256,
    ),
    "bedrooms-val": Entry(
        Artefact(
            name="LSUN bedrooms, validation",
            file_name="bedroom_val_lmdb.zip",
            urls=("http://dl.yf.io/lsun/scenes/bedroom_val_lmdb.zip",),
            size=4_670_661,
            sha256="5d022e781b241c25ec2e1f1f769afcdb8091d7fd58362667aec03137b8114b12",
        ),
        "300 bedrooms, short side 256",
        ratio=188 / 256,
    ),
    "cityscapes": Entry(
        Artefact(
            name="Cityscapes, leftImg8bit",
            file_name="leftImg8bit_trainvaltest.zip",
            urls=(),
            note="A login at https://www.cityscapes-dataset.com is needed.",
        ),
        "5,000 street scenes, 2048x1024 (needs a login)",
        ratio=0.5,
    ),
    "cityscapes-official": Entry(
        Artefact(
            name="Cityscapes as prepared by the GANformer authors",
            file_name="cityscapes.zip",
            urls=(f"{_DRIVE}1t9Qhxm0iHFd3k-xTYEbKosSx_DkyoLLJ",),
            md5="953d231046275120dc1f73a5aebc9087",
        ),
        "the GANformer authors' record files, 24,998 street scenes, 256x256",
    ),
    "ffhq-official": Entry(
        Artefact(
            name="FFHQ record files, 256x256",
            file_name="ffhq-r08.tfrecords1of1",
            urls=(
                "http://downloads.cs.stanford.edu/nlp/data/dorarad/ffhq-r08.tfrecords1of1",
                f"{_DRIVE}1LxxgVBHWgyN8jzf8bQssgVOrTLE8Gv2v",
            ),
            md5="74de4f07dc7bfb07c0ad4471fdac5e67",
        ),
        "70,000 faces, 256x256 (NVIDIA's record file)",
        licence="CC BY-NC-SA 4.0",
    ),
}


def fetch_data_set(name: str, directory: Path, *, from_file: Path | None = None) -> Path:
    """Return the file of a catalogue entry, downloading it into `directory` if it is not there."""
    entry = CATALOGUE[name]
    return fetch(entry.artefact, directory / name, from_file=from_file)
