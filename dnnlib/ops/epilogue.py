"""What follows a modulated convolution or attention in a layer."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from dnnlib.ops.activations import find_activation


class Epilogue(NamedTuple):
    """gain * activation(x + noise + bias).

    noise: float32 [B or 1, ..., 1] for x [B, ..., C], or None; bias: [C]. gain is all of it: the
    activation's own is not added.
    """

    noise: tf.Tensor | None
    bias: tf.Tensor
    activation: str
    gain: float

    @property
    def alpha(self) -> float:
        """The activation's slope below zero, for "linear" and "lrelu"."""
        return 1.0 if self.activation == "linear" else find_activation(self.activation).alpha

    @property
    def has_slopes(self) -> bool:
        """Whether the result is one positive factor above zero and one below, times the sum."""
        return self.activation in ("linear", "lrelu") and self.gain > 0

    def apply(self, x: tf.Tensor, bias_act: Callable) -> tf.Tensor:
        """Do this to x, step by step, with an implementation of bias_act."""
        if self.noise is not None:
            x += tf.cast(self.noise, x.dtype)
        alpha = find_activation(self.activation).alpha
        options = {"activation": self.activation, "alpha": alpha, "gain": self.gain}
        return bias_act(x, self.bias, **options, clamp=None)
