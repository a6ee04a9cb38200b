"""StyleGAN2's and the GANformer's operations: a plain TensorFlow form each, and native kernels."""

from dnnlib.ops.attention_gain import attention_gain
from dnnlib.ops.bias_act import activation_gain, bias_act
from dnnlib.ops.convolution import conv1x1, conv3x3, matmul_last
from dnnlib.ops.epilogue import Epilogue, finish_layer, scale_channels
from dnnlib.ops.library import (
    forbid_saving_native_ops,
    implementation,
    is_reference_chosen,
    set_implementation,
)
from dnnlib.ops.multiply_adds import count_multiply_adds
from dnnlib.ops.resampling import (
    conv_downsample2d,
    downsample2d,
    filter2d,
    setup_kernel,
    upsample2d,
    upsample_conv2d,
)
from dnnlib.ops.resizing import resize_antialiased
from dnnlib.ops.sample_convolution import sample_conv2d
from dnnlib.ops.stateless_random import stateless_random
from dnnlib.ops.upfirdn2d import upfirdn2d

__all__ = [
    "Epilogue",
    "activation_gain",
    "attention_gain",
    "bias_act",
    "conv1x1",
    "conv3x3",
    "conv_downsample2d",
    "count_multiply_adds",
    "downsample2d",
    "filter2d",
    "finish_layer",
    "forbid_saving_native_ops",
    "implementation",
    "is_reference_chosen",
    "matmul_last",
    "resize_antialiased",
    "sample_conv2d",
    "scale_channels",
    "set_implementation",
    "setup_kernel",
    "stateless_random",
    "upfirdn2d",
    "upsample2d",
    "upsample_conv2d",
]
