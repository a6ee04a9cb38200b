"""k-GAN (van Steenkiste et al., 2020): several images, made separately, are merged into one."""

import math

import tensorflow as tf

from dnnlib.ops import conv1x1
from gansformer.config import MergeConfig
from gansformer.variables import Scope


class Merge(tf.Module):
    """Weigh k images by a learned score and add them up.

    Their latents w are averaged with the same weights, and serve all later layers.
    """

    def __init__(self, scope: Scope, channels: int, images: int, config: MergeConfig):
        super().__init__()
        self.config, self.images = config, images
        self.scale = 1 / math.sqrt(channels)
        self.weight = scope.normal("weight", [1, 1, channels, 1])

    def __call__(self, x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """x: [B k, H, W, C], w: [B, k, L, w_dim] -> [B, H, W, C], [B, L, w_dim]."""
        _, rows, columns, channels = x.shape
        scores = conv1x1(x, tf.cast(self.weight * self.scale, x.dtype))
        scores = tf.reshape(tf.cast(scores, tf.float32), [-1, self.images, rows, columns, 1])
        if self.config.same:
            scores = tf.reduce_sum(scores, axis=[2, 3], keepdims=True)
        weights = self._weights(scores)  # [B or 1, k, H or 1, W or 1, 1]
        x = tf.reshape(x, [-1, self.images, rows, columns, channels])
        merged = tf.reduce_sum(x * tf.cast(weights, x.dtype), axis=1)
        shares = tf.reduce_mean(weights, axis=[2, 3])[..., None]  # [B or 1, k, 1, 1]
        return merged, tf.reduce_sum(w * shares, axis=1)

    def _weights(self, scores: tf.Tensor) -> tf.Tensor:
        if self.config.type == "sum":
            return tf.ones_like(scores)
        if self.config.type == "softmax":
            return tf.nn.softmax(scores, axis=1)
        if self.config.type == "max":
            best = tf.argmax(scores, axis=1)
            return tf.one_hot(best, self.images, axis=1, dtype=scores.dtype)
        return _leaves(scores)


def _leaves(scores: tf.Tensor) -> tf.Tensor:
    """Cover image by image: each hides those before it where its score exceeds theirs.

    The maximum of the earlier scores is taken over batch and positions too, as in the official
    code (one number for all).
    """
    weights = [tf.ones_like(scores[:, 0])]
    for i in range(1, scores.shape[1]):
        cover = tf.sigmoid(scores[:, i] - tf.reduce_max(scores[:, :i]))
        weights = [weight * (1 - cover) for weight in weights] + [cover]
    return tf.stack(weights, axis=1)
