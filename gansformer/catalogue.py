"""Models that are known by name: those shipped with this package, and the official ones."""

from pathlib import Path

from dnnlib.cache import cache_directory
from dnnlib.downloads import Artefact, fetch
from dnnlib.errors import UserError

SHIPPED = Path(__file__).resolve().parent / "pretrained"

_DRIVE = {
    "clevr-256": "1sYtuNEi0HGBH1F8GW2JlF4mCRGGrtZa9",
    "bedrooms-256": "1lrB4t3hOOpn8YiwHEduIZYzndHrsKX8z",
    "cityscapes-256": "1iL8S26IYCNAQmUS-6GYCVheKFtCE4ktQ",
    "ffhq-256": "1-b0vwevUQs6LI_EybdO8XJ5uYSx63vEa",
    "cityscapes-2048": "1lJlbIuxF89-owG7vQSBYXc8y2RqqP_bP",
    "ffhq-1024": "1OcsibUthk2y8y0slf2lQnrYBAtmdJYCQ",
}
# Height / width of the useful part of their images, which are padded to squares.
RATIOS = {
    "clevr-256": 0.75,
    "bedrooms-256": 188 / 256,
    "cityscapes-256": 0.5,
    "cityscapes-2048": 0.5,
}


def model_names() -> list[str]:
    """Return the names of all catalogued models, the shipped ones first."""
    shipped = sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))
    return [*shipped, *_DRIVE]


def fetch_model(name: str) -> Path:
    """Return where a catalogued model is, after downloading it if need be.

    Raises UserError if it cannot be had, saying where to put a file that was fetched by hand.
    """
    if (SHIPPED / name / "config.json").is_file():
        return SHIPPED / name
    if name not in _DRIVE:
        raise UserError(f"model {name} is not in the catalogue: {', '.join(model_names())}")
    address = f"https://drive.google.com/uc?id={_DRIVE[name]}"
    artefact = Artefact(
        name=name,
        file_name=f"{name}.pkl",
        urls=(address,),
        size=None,
        sha256=None,
        md5=None,
        note="published by the GANformer authors without a checksum",
    )
    return fetch(artefact, cache_directory("models"))
