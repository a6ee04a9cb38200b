"""The network that comes with the project, against the real pictures that come with it."""

import io
import zipfile

import numpy as np
from PIL import Image

import gansformer
from gansformer.generation import Sampler
from tests.golden_files import ROOT

NAME = "cartoonset64-duplex-cpu"


def real_pictures(count: int) -> np.ndarray:
    """Return [count, 64, 64, 3] in [-1, 1]."""
    with zipfile.ZipFile(ROOT / "datasets" / "demo" / "cartoonset-64.zip") as file:
        names = sorted(n for n in file.namelist() if n.endswith((".png", ".webp", ".jpg")))[:count]
        pictures = [Image.open(io.BytesIO(file.read(name))).convert("RGB") for name in names]
    return np.stack([np.asarray(picture) for picture in pictures]) / 127.5 - 1


def test_paints_as_the_real_pictures_are():
    """Mean and spread of each pixel agree: white around, a head of varied colours inside."""
    snapshot = gansformer.load(NAME)
    assert snapshot.D is None
    batches = Sampler(snapshot.Gs).batches(range(96))
    fakes = np.concatenate([out.images for _, out in batches])
    reals = real_pictures(400)
    assert fakes.shape[1:] == reals.shape[1:]
    for statistic in (np.mean, np.std):
        ours, theirs = statistic(fakes, axis=0), statistic(reals, axis=0)
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9
        assert abs(ours.mean() - theirs.mean()) < 0.1


def test_weights_are_small_enough_to_come_along():
    folder = ROOT / "gansformer" / "pretrained"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 6e6
