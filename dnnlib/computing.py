"""What a program computes with: devices, precision, and the implementation of the ops."""

import argparse
import dataclasses

import tensorflow as tf

from dnnlib.devices import make_strategy
from dnnlib.errors import UserError
from dnnlib.ops import set_implementation

# Types of feature maps; with float16, training scales its losses (training/optimizer.py).
PRECISIONS = {"float32": tf.float32, "bfloat16": tf.bfloat16, "mixed_float16": tf.float16}


@dataclasses.dataclass(frozen=True)
class ComputingOptions:
    """The options --devices, --precision, --ops, --tf32, --xla: they change rounding only.

    But with XLA, normally distributed random numbers are others.
    """

    devices: str = "auto"
    precision: str = "float32"
    ops: str = "auto"
    tf32: str = "on"
    xla: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace) -> "ComputingOptions":
        """Take them from a command line parsed by dnnlib.cli.ArgumentParser."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: getattr(options, name) for name in names if hasattr(options, name)})

    @property
    def dtype(self) -> tf.DType:
        """Type of the feature maps."""
        return PRECISIONS[self.precision]

    def apply(self) -> tf.distribute.Strategy:
        """Choose devices and ops for this process, and return the devices' strategy.

        Must be called before TensorFlow makes its first tensor. Raises UserError if the devices do
        not exist or the ops cannot be used.
        """
        strategy = make_strategy(self.devices)
        set_implementation(self.ops)
        tf.config.experimental.enable_tensor_float_32_execution(self.tf32 == "on")
        if self.xla:
            if not tf.config.get_visible_devices("GPU"):
                raise UserError("--xla needs a GPU; leave it out")
            tf.config.optimizer.set_jit(True)
        return strategy
