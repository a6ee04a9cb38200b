"""Networks of the user's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from metrics.networks import load_network
from tests.golden_files import relative_error


def random_images(count, size):
    return np.random.default_rng(size).integers(0, 256, [count, size, size, 3], dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input([20, 30, 3])
    x = keras.layers.Rescaling(1 / 255)(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, activation="relu")(x))


@pytest.mark.parametrize("form", ["model.keras", "model.h5", "exported"])
def test_a_model_of_the_users(form, model, tmp_path):
    path = tmp_path / form
    model.save(path) if "." in form else model.export(path, verbose=False)
    network = load_network("custom", from_file=path)
    images = random_images(3, 25)
    resized = tf.image.resize(tf.cast(images, tf.float32), [20, 30], antialias=True)
    expected = model.predict(resized, verbose=0).mean(axis=(1, 2))
    assert network.dimensions == {"features": 4}
    assert network.preprocessing == "antialiased bilinear to 20x30"
    assert relative_error(network.features(images)["features"], expected) < 1e-5
    again = load_network("custom", from_file=path)
    assert again.digest == network.digest and len(network.digest) == 64


def test_models_that_are_no_feature_networks(tmp_path):
    inputs = keras.Input([7])
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "vector.keras")
    with pytest.raises(UserError, match=r"\(None, 7\), not images"):
        load_network("custom", from_file=tmp_path / "vector.keras")
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(UserError, match="cannot give features"):
        load_network("custom", from_file=tmp_path / "text.keras")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot give features"):
        load_network("custom", from_file=tmp_path / "folder")
    with pytest.raises(UserError, match="--from-file custom=PATH"):
        load_network("custom", tmp_path)
