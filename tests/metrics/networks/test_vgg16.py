"""VGG16 against Keras'."""

import keras
import numpy as np
import pytest

from dnnlib.errors import UserError
from metrics.networks import load_network
from metrics.networks.keras_files import read_layers
from metrics.networks.network import FeatureNetwork
from metrics.networks.vgg16 import VGG16
from tests.golden_files import relative_error
from tests.metrics.networks.test_layers import random_images
from tests.metrics.oracles import resize_by_definition


def test_vgg16_is_keras_from_a_file_that_keras_wrote(tmp_path):
    keras.utils.set_random_seed(0)
    layers = [keras.Input([224, 224, 3])]
    for block, (count, channels) in enumerate([(2, 4), (2, 8), (3, 16), (3, 32), (3, 32)], start=1):
        for i in range(1, count + 1):
            name = f"block{block}_conv{i}"
            layers.append(keras.layers.Conv2D(channels, 3, 1, "same", activation="relu", name=name))
        layers.append(keras.layers.MaxPooling2D(2, 2, name=f"block{block}_pool"))
    layers.append(keras.layers.Flatten(name="flatten"))
    layers += [keras.layers.Dense(64, "relu", name=name) for name in ("fc1", "fc2")]
    model = keras.Sequential(layers)
    for layer in model.layers:  # Keras begins with biases of 0, which would hide them
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.random.default_rng(0).normal(size=bias.shape)])
    model.save(tmp_path / "narrow.h5")
    network = FeatureNetwork("vgg16", VGG16(read_layers(tmp_path / "narrow.h5")), "")
    images = random_images(64, 48)
    resized = resize_by_definition(images, 224).astype(np.float32)
    expected = model.predict(keras.applications.vgg16.preprocess_input(resized), verbose=0)
    assert network.dimensions == {"fc2": 64}
    assert relative_error(network.features(images)["fc2"], expected) < 1e-5


def test_keras_reader_tells_what_is_no_such_file(tmp_path):
    (tmp_path / "page.h5").write_text("<html>quota exceeded")
    with pytest.raises(UserError, match="not an HDF5 file of Keras weights"):
        load_network("vgg16", from_file=tmp_path / "page.h5")
