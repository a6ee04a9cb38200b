"""Convolutions: 1x1 and 3x3, the latter also with stride 2 and transposed.

The kernels are for CPUs only. That of 3x3 convolutions computes in float32 what is stored in 16 bit
and rounds once; with AMX TensorFlow's own convolutions of bfloat16 are faster. Those with stride 2
are for float32: in 16 bit they gained nothing.
"""

from functools import lru_cache
from typing import Any

import tensorflow as tf

from dnnlib.ops.build import read_cpuinfo
from dnnlib.ops.library import native_kernels
from dnnlib.ops.multiply_adds import counts
from dnnlib.ops.tensors import shape_of

CHANNELS = 16  # the kernels take multiples of this; kConvChannels in src/convolution/conv3x3.h


def matmul_last(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Multiply the last axis of x [..., I] by weights [I, O], as one matrix product."""
    if x.shape.rank == 2:
        return tf.matmul(x, weights)
    y = tf.matmul(tf.reshape(x, [-1, weights.shape[0]]), weights)
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], weights.shape[1:]], 0))


def conv1x1(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Convolve x [B, H, W, I] with weights [1, 1, I, O], as a matrix product.

    On CPUs the gradients of TensorFlow's convolution take up to two and a half times as long as
    those of a matrix product.
    """
    return matmul_last(x, tf.reshape(weights, weights.shape[2:]))


@tf.autograph.experimental.do_not_convert
def conv3x3(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate with zeros around x.  x: [B, H, W, I], weights: [3, 3, I, O] -> [B, H, W, O].

    On CPUs by a fast algorithm (Lavin & Gray, 2016) that needs a quarter of the multiplications and
    rounds differently: in float32, errors are about 1e-5 of the largest value. (Not in bfloat16 on
    processors with AMX.) Differentiable to any order.
    """
    x, weights = tf.convert_to_tensor(x), tf.convert_to_tensor(weights)
    if weights.shape.rank != 4 or weights.shape[:2] != [3, 3] or weights.shape[2] != x.shape[-1]:
        raise ValueError(f"conv3x3: weights {weights.shape} do not fit x {x.shape}")
    pays = x.dtype != tf.bfloat16 or not has_matrix_tiles()
    kernels = _kernels_for("conv3x3", weights) if pays else None
    if kernels is None:
        return tf.nn.conv2d(x, weights, strides=1, padding="SAME")
    return _native_conv3x3(kernels, x, tf.cast(weights, tf.float32))


def strided_conv2d(x: tf.Tensor, weights: tf.Tensor, factor: int) -> tf.Tensor:
    """Cross-correlate and keep every factor-th sample.  weights: [c, c, I, O]; no padding."""
    odd = all(size is not None and size % 2 and size > 1 for size in x.shape[1:3])
    kernels = (
        _kernels_for("strided_conv2d", weights)
        if factor == 2 and odd and x.dtype == tf.float32
        else None
    )
    if kernels is None:
        return tf.nn.conv2d(x, weights, factor, "VALID")
    return _native_strided(kernels, x, weights)


def transposed_conv2d(x: tf.Tensor, weights: tf.Tensor, factor: int) -> tf.Tensor:
    """Insert factor - 1 zeros between samples and correlate fully with `weights` [c, c, I, O].

    [B, H, W, I] -> [B, (H - 1) * factor + c, (W - 1) * factor + c, O].
    """
    kernels = (
        _kernels_for("transposed_conv2d", weights)
        if factor == 2 and x.dtype == tf.float32
        else None
    )
    adjoint = adjoint_weights(weights)  # [c, c, O, I]
    if kernels is not None:
        return _native_transposed(kernels, x, adjoint)
    size, outputs = weights.shape[0], weights.shape[3]
    batch, in_height, in_width, _ = shape_of(x)
    height, width = (in_height - 1) * factor + size, (in_width - 1) * factor + size
    # The adjoint of a correlation with the adjoint's weights.
    return tf.nn.conv2d_transpose(x, adjoint, [batch, height, width, outputs], factor, "VALID")


def _kernels_for(op: str, weights: tf.Tensor) -> Any:
    fits = weights.shape[:2] == [3, 3] and all(s and s % CHANNELS == 0 for s in weights.shape[2:])
    return native_kernels(op) if fits else None


@lru_cache
def has_matrix_tiles() -> bool:
    """Whether the processor has AMX, with which TensorFlow convolves fastest in bfloat16."""
    return "amx_bf16" in read_cpuinfo()


def adjoint_weights(weights: tf.Tensor) -> tf.Tensor:
    """Return the weights of the adjoint of a correlation.  [c, c, I, O] -> [c, c, O, I].

    By whole taps: weights[::-1, ::-1] takes longer than the convolution of a small image.
    """
    size, _, inputs, outputs = weights.shape
    taps = tf.unstack(tf.reshape(weights, [size * size, inputs, outputs]))
    flipped = tf.transpose(tf.stack(taps[::-1]), [0, 2, 1])
    return tf.reshape(flipped, [size, size, outputs, inputs])


def _native_conv3x3(
    kernels: Any, x: tf.Tensor, weights: tf.Tensor, *, transposed: bool = False
) -> tf.Tensor:
    """Cross-correlate x [B, H, W, I] with float32 weights [3, 3, I, O], zeros around x.

    transposed: the adjoint of that, from O to I channels.
    """

    @tf.custom_gradient
    def apply(x, weights):
        y = kernels.gansformer_conv3x3(x=x, weights=weights, transposed=transposed)

        def gradient(dy):
            dx = _native_conv3x3(kernels, dy, weights, transposed=not transposed)
            ends = (dy, x) if transposed else (x, dy)
            return dx, _conv3x3_weights(kernels, *ends)

        return y, gradient

    return apply(x, weights)


def _conv3x3_weights(kernels: Any, x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    """Return the float32 gradient [3, 3, I, O] of sum(conv3x3(x, weights) * dy) by the weights."""

    @tf.custom_gradient
    def apply(x, dy):
        dweights = kernels.gansformer_conv3x3_weight_gradient(x=x, dy=dy)

        def gradient(v):
            return _native_conv3x3(kernels, dy, v, transposed=True), _native_conv3x3(kernels, x, v)

        return dweights, gradient

    return apply(x, dy)


def _native_strided(kernels: Any, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Cross-correlate x with weights [3, 3, I, O], stride 2, no padding, odd sizes.

    The value is TensorFlow's, which is fast, but its gradients are not.
    """

    @tf.custom_gradient
    def apply(x, weights):
        def gradient(dy):
            dx = _native_transposed(kernels, dy, weights)
            return dx, _strided_weights(kernels, x, dy)

        return tf.nn.conv2d(x, weights, 2, "VALID"), gradient

    return apply(x, weights)


def _native_transposed(kernels: Any, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the adjoint of `_native_strided`: [B, H, W, O] -> [B, 2H + 1, 2W + 1, I]."""

    @tf.custom_gradient
    def apply(x, weights):
        def gradient(dy):
            dx = _native_strided(kernels, dy, weights)
            return dx, _strided_weights(kernels, dy, x)

        return kernels.gansformer_transposed_conv3x3(x=x, weights=weights), gradient

    return apply(x, weights)


def _strided_weights(kernels: Any, large: tf.Tensor, small: tf.Tensor) -> tf.Tensor:
    """Return the gradient of sum(_native_strided(large, weights) * small) by the weights."""

    @tf.custom_gradient
    def apply(large, small):
        dweights = kernels.gansformer_strided_conv3x3_weight_gradient(large=large, small=small)

        def gradient(v):
            dlarge = _native_transposed(kernels, small, v)
            return dlarge, _native_strided(kernels, large, v)

        return dweights, gradient

    return apply(large, small)


@counts("GansformerConv3x3")
def _fast_convolution(operation: tf.Operation) -> int:
    """What the convolution would take directly, whatever the algorithm."""
    return 9 * operation.inputs[0].shape[-1] * operation.outputs[0].shape.num_elements()


@counts("GansformerTransposedConv3x3")
def _fast_transposed_convolution(operation: tf.Operation) -> int:
    """Every weight meets every pixel of the input."""
    pixels = operation.inputs[0].shape[:3].num_elements()
    return operation.inputs[1].shape.num_elements() * pixels
