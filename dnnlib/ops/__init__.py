"""StyleGAN2's operations upfirdn2d, bias_act and scale_channels, and resampling built on them."""

from dnnlib.ops.activations import activation_gain
from dnnlib.ops.dispatch import bias_act, scale_channels, upfirdn2d
from dnnlib.ops.implementations import implementation, set_implementation
from dnnlib.ops.resampling import (
    conv_downsample2d,
    downsample2d,
    filter2d,
    setup_kernel,
    upsample2d,
    upsample_conv2d,
)

__all__ = [
    "activation_gain",
    "bias_act",
    "conv_downsample2d",
    "downsample2d",
    "filter2d",
    "implementation",
    "scale_channels",
    "set_implementation",
    "setup_kernel",
    "upfirdn2d",
    "upsample2d",
    "upsample_conv2d",
]
