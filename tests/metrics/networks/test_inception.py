"""The Inception network against Keras' layers."""

import keras
import numpy as np
import pytest

from metrics.networks.building_blocks import resize_like_clean_fid
from metrics.networks.inception import CleanInceptionV3, InceptionV3
from metrics.networks.inception_graph import kernel_shapes
from metrics.networks.network import FeatureNetwork
from tests.golden_files import relative_error
from tests.metrics.networks.test_layers import random_images
from tests.metrics.oracles import keras_inception, resize_by_definition


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


def test_grey_pictures_and_what_are_no_pictures(inception):
    grey = random_images(16, 16)[..., :1]
    same = inception.features(np.repeat(grey, 3, axis=-1))["pool_3"]
    np.testing.assert_array_equal(inception.features(grey)["pool_3"], same)
    with pytest.raises(ValueError, match="no images"):
        inception.features(grey.astype(np.float32))
