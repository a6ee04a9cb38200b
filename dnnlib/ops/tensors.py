"""What the ops share: checks of their arguments, shapes, derivatives of second order."""

from collections.abc import Callable

import tensorflow as tf

FLOAT_TYPES = (tf.float32, tf.bfloat16, tf.float16)


def as_float_tensor(x: tf.Tensor, op: str) -> tf.Tensor:
    """Return x as a tensor; a TypeError, in the name of `op`, if the ops do not take its type."""
    x = tf.convert_to_tensor(x)
    if x.dtype not in FLOAT_TYPES:
        raise TypeError(f"{op}: x must be float32, bfloat16 or float16, not {x.dtype.name}")
    return x


def shape_of(x: tf.Tensor) -> list:
    """Return the static shape, with scalars of the dynamic shape where that is unknown."""
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]


def no_vector() -> tf.Tensor:
    """Return the empty vector by which the kernels know that there is nothing to add."""
    return tf.zeros([0], tf.float32)


def differentiable(value: Callable, gradient: Callable, plain: Callable) -> Callable:
    """Return the function y = value(*x) whose first derivative is gradient(y, dy, *x).

    y is a tuple. Higher derivatives, which only some regularisers need, are those of the same
    function `plain`.
    """

    def first_derivative(y, dy, inputs):
        @tf.custom_gradient
        def apply(*dy_and_inputs):
            dy, inputs = dy_and_inputs[: len(y)], dy_and_inputs[len(y) :]

            def second(*upstream):
                with tf.GradientTape() as outer:
                    outer.watch(dy_and_inputs)
                    with tf.GradientTape() as inner:
                        inner.watch(inputs)
                        plain_y = plain(*inputs)
                    result = inner.gradient(plain_y, inputs, dy, unconnected_gradients="zero")
                zero = {"unconnected_gradients": "zero"}
                return outer.gradient(result, dy_and_inputs, list(upstream), **zero)

            return gradient(y, dy, *inputs), second

        return apply(*dy, *inputs)

    @tf.custom_gradient
    def apply(*inputs):
        y = value(*inputs)
        constant_y = [tf.stop_gradient(tensor) for tensor in y]
        return y, lambda *dy: first_derivative(constant_y, dy, inputs)

    return apply
