"""The activations of bias_act: names, default slopes and gains."""

import math
from dataclasses import dataclass

from dnnlib.errors import suggest


@dataclass(frozen=True)
class Activation:
    """One activation function.

    `code` is its number in the native kernels; `gain` keeps the variance of a normal input roughly
    constant; `alpha` is the default slope below zero where there is one.
    """

    code: int
    gain: float
    alpha: float = 0.0


ACTIVATIONS = {
    "linear": Activation(0, 1.0),
    "relu": Activation(1, math.sqrt(2.0)),
    "lrelu": Activation(2, math.sqrt(2.0), alpha=0.2),
    "tanh": Activation(3, 1.0),
    "sigmoid": Activation(4, 1.0),
    "elu": Activation(5, 1.0),
    "selu": Activation(6, 1.0),
    "softplus": Activation(7, 1.0),
    "swish": Activation(8, math.sqrt(2.0)),
}


def find_activation(name: str) -> Activation:
    """Return the activation called `name`; an unknown name is an error that suggests another."""
    if name not in ACTIVATIONS:
        hint = suggest(name, ACTIVATIONS)
        raise ValueError(f'unknown activation "{name}"{hint}; known: {", ".join(ACTIVATIONS)}')
    return ACTIVATIONS[name]


def activation_gain(name: str) -> float:
    """Return the gain that `bias_act` applies after activation `name` unless told otherwise."""
    return find_activation(name).gain
