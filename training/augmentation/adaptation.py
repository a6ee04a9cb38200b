"""How ADA adapts the probability of its transforms, Karras et al. (2020), section 3.1.

A discriminator that overfits separates real from generated images more and more: the mean sign of
its scores of real images, r_t, goes from 0 to 1. Every four minibatches p moves up by a fixed
amount if r_t is above its target, and down if it is below.
"""

import tensorflow as tf

from dnnlib.devices import on_host
from training.augmentation.config import AugmentationConfig
from training.optimizer import update

INTERVAL = 4  # minibatches


class AdaptiveProbability(tf.Module):
    """p, and the mean sign over the present interval so far."""

    def __init__(self, config: AugmentationConfig, batch_size: int):
        super().__init__()
        self.config, self.batch_size = config, batch_size
        self.p = tf.Variable(config.p, trainable=False, name="augmentation/p")
        self.sign = tf.Variable(0.0, trainable=False, name="augmentation/sign")

    def observe(self, sign: tf.Tensor, fraction: float) -> None:
        """Record the mean sign of the scores of real images in this fraction of a minibatch."""
        update(self.sign, lambda mean, s: mean.assign_add(s * fraction / INTERVAL), sign)

    def adapt(self, images_shown: tf.Tensor) -> None:
        """Move p if an interval is over, `images_shown` with the last minibatch."""
        with on_host():
            minibatches = images_shown // self.batch_size
            is_over = tf.equal(minibatches % INTERVAL, 0)
        amount = INTERVAL * self.batch_size / (self.config.ramp_kimg * 1000)
        sign, p = self.sign.read_value(), self.p.read_value()
        moved = tf.clip_by_value(p + tf.sign(sign - self.config.target) * amount, 0.0, 1.0)
        update(self.p, lambda variable, p: variable.assign(p), tf.where(is_over, moved, p))
        update(self.sign, lambda variable, s: variable.assign(s), tf.where(is_over, 0.0, sign))
