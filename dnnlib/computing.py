"""What a program computes with: devices, precision, and the implementation of the ops."""

import argparse
import dataclasses
import sys

import tensorflow as tf

from dnnlib.devices import make_strategy
from dnnlib.errors import UserError
from dnnlib.ops import set_implementation

# Types of feature maps; with float16, training scales its losses (training/optimizer.py).
PRECISIONS = {"float32": tf.float32, "bfloat16": tf.bfloat16, "mixed_float16": tf.float16}


# Flags of processors with instructions for products of 16-bit numbers, as /proc/cpuinfo has them.
_INSTRUCTIONS = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    "mixed_float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}
_CAPABILITY = {"bfloat16": (8, 0), "mixed_float16": (7, 0)}  # of GPUs


def find_drawback(precision: str) -> str | None:
    """Return what a precision costs on this device if it gains nothing."""
    if precision == "float32":
        return None
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        capability = details.get("compute_capability")
        if capability is None or tuple(capability) >= _CAPABILITY[precision]:
            return None
        return f"this GPU ({details.get('device_name')}) computes it no faster than float32"
    flags = processor_flags()
    if not flags or flags & _INSTRUCTIONS[precision]:
        return None
    return (
        "this processor has no instructions for it and emulates them, which takes longer than "
        "float32 (training: up to 5 times as long)"
    )


def processor_flags() -> set[str]:
    """Return the names of the processor's instruction sets; none where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
    except OSError:
        return set()
    return set(lines[0].partition(":")[2].split()) if lines else set()


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
        if drawback := find_drawback(self.precision):
            print(f"note: --precision {self.precision}: {drawback}", file=sys.stderr, flush=True)
        tf.config.experimental.enable_tensor_float_32_execution(self.tf32 == "on")
        if self.xla:
            if not tf.config.get_visible_devices("GPU"):
                raise UserError("--xla needs a GPU; leave it out")
            tf.config.optimizer.set_jit(True)
        return strategy
