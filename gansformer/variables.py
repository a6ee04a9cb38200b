"""Making variables: named as in the official checkpoints, initialised from a seed and that name."""

import hashlib

import numpy as np
import tensorflow as tf


class Scope:
    """Where variables are made: `scope / "4x4" / "Conv"` names what belongs to one layer.

    A variable has the name, the shape and the layout that it has in the official checkpoints, so
    that these load without a table. Its initial value depends on the seed and on its name only.
    """

    def __init__(self, seed: int, path: str = ""):
        self.seed = seed
        self.path = path

    def __truediv__(self, name: str) -> "Scope":
        return Scope(self.seed, f"{self.path}/{name}" if self.path else name)

    def normal(self, name: str, shape: list[int], *, std: float = 1.0, trainable: bool = True):
        """Make a variable drawn from N(0, std^2)."""
        return self._make(name, std * self._random(name).standard_normal(shape), trainable)

    def uniform(self, name: str, shape: list[int]):
        """Make a variable drawn uniformly from [0, 1)."""
        return self._make(name, self._random(name).random(shape), True)

    def full(self, name: str, shape: list[int], value: float = 0.0, *, trainable: bool = True):
        """Make a variable that is `value` everywhere."""
        return self._make(name, np.full(shape, value), trainable)

    def _random(self, name: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}/{self.path}/{name}".encode()).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))

    def _make(self, name: str, value: np.ndarray, trainable: bool) -> tf.Variable:
        full_name = f"{self.path}/{name}" if self.path else name
        return tf.Variable(value.astype(np.float32), name=full_name, trainable=trainable)


def variables_by_name(module: tf.Module) -> dict[str, tf.Variable]:
    """Return all variables of a network under their official names."""
    return {variable.name.removesuffix(":0"): variable for variable in module.variables}
