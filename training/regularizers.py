"""Regularisers of the discriminator and of the generator.

scale: for float16, what the inner gradient is computed at so that it fits (see LossScale); None: as
it is. The result does not depend on it but for rounding.
"""

from collections.abc import Callable

import tensorflow as tf

Scores = Callable[[tf.Tensor], tf.Tensor]  # images [B, H, W, C] -> scores [B, S]


def gradient_square(
    scores: Scores, images: tf.Tensor, gamma: float, *, scale: tf.Tensor | None = None
) -> tf.Tensor:
    """Return gamma / 2 |d score / d image|^2 for each sample [B], Mescheder et al. (2018).

    On real images this is R1, on fakes R2. images: also a list of maps [B, h, w, c]; then the
    squares are summed over all of them. Of several scores it is the gradient of the sum.
    """
    slopes = tf.nest.flatten(_slope(scores, images, scale))
    squares = [tf.reduce_sum(tf.square(slope), axis=[1, 2, 3]) for slope in slopes]
    return gamma / 2 * sum(squares[1:], squares[0])


def gradient_penalty(
    scores: Scores,
    reals: tf.Tensor,
    fakes: tf.Tensor,
    mix: tf.Tensor,
    gamma: float,
    *,
    scale: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return gamma (|d score / d x| - 1)^2 for each sample [B], Gulrajani et al. (2017).

    x lies between real and fake, at mix [B, 1, 1, 1] in [0, 1).
    """
    slope = _slope(scores, reals + (fakes - reals) * mix, scale)
    norm = tf.sqrt(tf.reduce_sum(tf.square(slope), axis=[1, 2, 3]))
    return gamma * tf.square(norm - 1)


def path_lengths(
    synthesize: Callable[[tf.Tensor], tf.Tensor],
    w: tf.Tensor,
    image_noise: tf.Tensor,
    *,
    scale: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return how far the image moves with w for each sample [B], Karras et al. (2020), Eq. 4.

    w: [B, K, L, w_dim]; image_noise: N(0, 1) [B, H, W, C]. The length is
    sqrt(mean over (K, L) of |J^T y|^2) with y = noise / sqrt(H W).
    """
    _, height, width, _ = image_noise.shape
    with tf.GradientTape() as tape:
        tape.watch(w)
        images = synthesize(w)
        projection = tf.reduce_sum(images * image_noise) / (height * width) ** 0.5
    slope = _gradient(tape, projection, w, scale)  # [B, K, L, w_dim]
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(slope), axis=3), axis=[1, 2]))


def _slope(scores: Scores, images: tf.Tensor, scale: tf.Tensor | None) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(scores(images))
    return _gradient(tape, total, images, scale)


def _gradient(tape: tf.GradientTape, total, x: tf.Tensor, scale: tf.Tensor | None) -> tf.Tensor:
    if scale is None:
        return tape.gradient(total, x)
    gradient = tape.gradient(total, x, output_gradients=scale)
    return tf.nest.map_structure(lambda part: part / scale, gradient)


def colors_outside(images: tf.Tensor) -> tf.Tensor:
    """Return the mean square of how far colours lie outside [-1, 1].

    There the first activation of a pretrained network is constant, so that no other loss would
    bring them back.
    """
    return tf.reduce_mean(tf.square(tf.nn.relu(tf.abs(images) - 1)))
