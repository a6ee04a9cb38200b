"""StyleGAN2's operations upfirdn2d, bias_act and modulated convolution, and resampling."""

from dnnlib.ops.activations import activation_gain
from dnnlib.ops.dispatch import (
    attention_gain,
    attention_probabilities,
    bias_act,
    conv3x3,
    finish_layer,
    sample_conv2d,
    scale_channels,
    upfirdn2d,
)
from dnnlib.ops.epilogue import Epilogue
from dnnlib.ops.implementations import implementation, set_implementation
from dnnlib.ops.products import conv1x1, matmul_last
from dnnlib.ops.resampling import (
    conv_downsample2d,
    downsample2d,
    filter2d,
    setup_kernel,
    upsample2d,
    upsample_conv2d,
)

__all__ = [
    "Epilogue",
    "activation_gain",
    "attention_gain",
    "attention_probabilities",
    "bias_act",
    "conv1x1",
    "conv3x3",
    "conv_downsample2d",
    "downsample2d",
    "filter2d",
    "finish_layer",
    "implementation",
    "matmul_last",
    "sample_conv2d",
    "scale_channels",
    "set_implementation",
    "setup_kernel",
    "upfirdn2d",
    "upsample2d",
    "upsample_conv2d",
]
