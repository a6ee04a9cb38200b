"""Adversarial losses for each sample. f: scores of fakes, r: scores of reals, [B, 1]."""

import tensorflow as tf


def logistic_saturating(f: tf.Tensor) -> tf.Tensor:
    """Goodfellow et al. (2014): log(1 - sigmoid(f))."""
    return -tf.nn.softplus(f)


def logistic_non_saturating(f: tf.Tensor) -> tf.Tensor:
    """Goodfellow et al. (2014): -log(sigmoid(f))."""
    return tf.nn.softplus(-f)


def wasserstein(f: tf.Tensor) -> tf.Tensor:
    """Arjovsky et al. (2017), and the usual partner of the hinge loss: -f."""
    return -f


def hinge_official(f: tf.Tensor) -> tf.Tensor:
    """As in the official code; its gradient vanishes for f < -1, where it is needed most."""
    return -tf.nn.relu(1 + f)


def relativistic(f: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """Huang et al. (2024), Eq. 2, each fake against a real one: -log(sigmoid(f - r))."""
    return tf.nn.softplus(r - f)


def discriminator_logistic(f: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """Goodfellow et al. (2014): -log(1 - sigmoid(f)) - log(sigmoid(r))."""
    return tf.nn.softplus(f) + tf.nn.softplus(-r)


def discriminator_hinge(f: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """Lim & Ye (2017)."""
    return tf.nn.relu(1 + f) + tf.nn.relu(1 - r)


def discriminator_wasserstein(f: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """Arjovsky et al. (2017), with the drift penalty of Karras et al. (2018)."""
    return f - r + 0.001 * tf.square(r)


def discriminator_relativistic(f: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
    """Huang et al. (2024), Eq. 2, the same game from the other side: -log(sigmoid(r - f))."""
    return tf.nn.softplus(f - r)


GENERATOR_LOSSES = {  # of f; relativistic: of f and r
    "logistic": logistic_saturating,
    "logistic_ns": logistic_non_saturating,
    "hinge": wasserstein,
    "hinge_official": hinge_official,
    "wgan": wasserstein,
    "relativistic": relativistic,
}
DISCRIMINATOR_LOSSES = {
    "logistic": discriminator_logistic,
    "hinge": discriminator_hinge,
    "wgan": discriminator_wasserstein,
    "relativistic": discriminator_relativistic,
}
