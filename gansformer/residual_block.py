"""The residual block that updates components: in the mapping network, and between attention."""

import tensorflow as tf

from gansformer.attention import Attention
from gansformer.layers import Dense
from gansformer.variables import Scope


class ResidualBlock(tf.Module):
    """leaky_relu(act(a W0 + b0) W1 + b1 + x), where a is x or, with attention, Attention(x, y).

    The residual is x from before the attention, and the last activation has no gain, as in the
    official code.
    """

    def __init__(
        self,
        scope: Scope,
        dim: int,
        *,
        dense_names: tuple[str, str],
        activation: str = "lrelu",
        lr_multiplier: float = 1.0,
        attention: Attention | None = None,
    ):
        super().__init__()
        self.attention = attention
        first, second = (scope / name for name in dense_names)
        self.dense0 = Dense(first, dim, dim, activation=activation, lr_multiplier=lr_multiplier)
        self.dense1 = Dense(second, dim, dim, lr_multiplier=lr_multiplier)

    def __call__(self, x: tf.Tensor, y: tf.Tensor | None = None, **options) -> tf.Tensor:
        """x: [B, N, dim]; the attention, if there is one, is to y, with its options."""
        attended = x if self.attention is None else self.attention(x, y, **options)[0]
        return tf.nn.leaky_relu(self.dense1(self.dense0(attended)) + x, alpha=0.2)
