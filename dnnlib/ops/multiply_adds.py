"""Counting what a network computes, from the shapes in its graph."""

import math
from collections.abc import Callable

import tensorflow as tf

Count = Callable[[tf.Operation], int]
_COUNTS: dict[str, Count] = {}  # by the type of the operation


def counts(*types: str) -> Callable[[Count], Count]:
    """Register the decorated function as what counts the multiply-adds of these operation types."""

    def register(count: Count) -> Count:
        _COUNTS.update(dict.fromkeys(types, count))
        return count

    return register


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


@counts("Conv2D")
def _convolution(operation: tf.Operation) -> int:
    height, width, inputs, _ = operation.inputs[1].shape
    return height * width * inputs * operation.outputs[0].shape.num_elements()


@counts("Conv2DBackpropInput")
def _transposed_convolution(operation: tf.Operation) -> int:
    height, width, outputs, _ = operation.inputs[1].shape
    return height * width * outputs * operation.inputs[2].shape.num_elements()


@counts("MatMul", "BatchMatMulV2")
def _matrix_product(operation: tf.Operation) -> int:
    a = operation.inputs[0].shape
    names = {"adj_x", "transpose_a"} & set(operation.node_def.attr)
    is_transposed = any(operation.get_attr(name) for name in names)
    depth = a[-2] if is_transposed else a[-1]
    return operation.outputs[0].shape.num_elements() * depth


@counts("Einsum")
def _einsum(operation: tf.Operation) -> int:
    equation = operation.get_attr("equation").decode()
    sizes = {}
    for letters, tensor in zip(equation.split("->")[0].split(","), operation.inputs, strict=True):
        for letter, size in zip(letters, tensor.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values())
