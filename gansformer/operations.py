"""Counting what a network computes, from the shapes in its graph."""

import math
from collections.abc import Callable

import tensorflow as tf


def count_multiply_adds(evaluate: Callable[[], object]) -> int:
    """Return the multiply-adds of convolutions, dense layers and attention products in a call.

    The function is traced, not run. Resampling filters and elementwise work do not count.
    """
    graph = tf.function(evaluate, autograph=False).get_concrete_function().graph
    return sum(
        _COUNTS[operation.type](operation)
        for operation in graph.get_operations()
        if operation.type in _COUNTS
    )


def _convolution(operation: tf.Operation) -> int:
    height, width, inputs, _ = operation.inputs[1].shape
    return height * width * inputs * operation.outputs[0].shape.num_elements()


def _fast_convolution(operation: tf.Operation) -> int:
    """What the convolution would take directly, whatever the algorithm."""
    return 9 * operation.inputs[0].shape[-1] * operation.outputs[0].shape.num_elements()


def _fast_transposed_convolution(operation: tf.Operation) -> int:
    """Every weight meets every pixel of the input."""
    pixels = operation.inputs[0].shape[:3].num_elements()
    return operation.inputs[1].shape.num_elements() * pixels


def _sample_convolution(operation: tf.Operation) -> int:
    _, height, width, inputs, _ = operation.inputs[1].shape
    return height * width * inputs * operation.outputs[0].shape.num_elements()


def _attention_scores(operation: tf.Operation) -> int:
    return operation.outputs[0].shape.num_elements() * operation.inputs[0].shape[-1]


def _attention_gain(operation: tf.Operation) -> int:
    """Scores and values: each channel of a position meets each target, and a bias."""
    targets = operation.inputs[1].shape[1]
    return operation.outputs[0].shape.num_elements() * (2 * targets + 1)


def _transposed_convolution(operation: tf.Operation) -> int:
    height, width, outputs, _ = operation.inputs[1].shape
    return height * width * outputs * operation.inputs[2].shape.num_elements()


def _matrix_product(operation: tf.Operation) -> int:
    a = operation.inputs[0].shape
    is_transposed = any(
        operation.get_attr(n) for n in ("adj_x", "transpose_a") if _has(operation, n)
    )
    depth = a[-2] if is_transposed else a[-1]
    return operation.outputs[0].shape.num_elements() * depth


def _einsum(operation: tf.Operation) -> int:
    equation = operation.get_attr("equation").decode()
    sizes = {}
    for letters, tensor in zip(equation.split("->")[0].split(","), operation.inputs, strict=True):
        for letter, size in zip(letters, tensor.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())


def _has(operation: tf.Operation, name: str) -> bool:
    return name in operation.node_def.attr


_COUNTS = {
    "Conv2D": _convolution,
    "GansformerConv3x3": _fast_convolution,
    "GansformerTransposedConv3x3": _fast_transposed_convolution,
    "GansformerSampleConv": _sample_convolution,
    "GansformerAttentionProbabilities": _attention_scores,
    "GansformerAttentionGain": _attention_gain,
    "Conv2DBackpropInput": _transposed_convolution,
    "MatMul": _matrix_product,
    "BatchMatMulV2": _matrix_product,
    "Einsum": _einsum,
}
