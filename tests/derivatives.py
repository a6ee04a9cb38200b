"""First and second derivatives of functions of tensors, and how to check them by differences."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf


def derivatives(
    function: Callable, inputs: Sequence, dy, directions: Sequence, *, traced: bool = False
) -> list[tf.Tensor]:
    """Return y = function(*inputs), its gradients for dy, and the gradients of those.

    The latter are of the inner product of the first gradients with `directions`, by inputs and dy.
    """

    def run(inputs, dy, directions):
        with tf.GradientTape() as outer:
            outer.watch([*inputs, dy])
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                y = function(*inputs)
            first = inner.gradient(y, inputs, dy)
            # Known before anything is computed: replicas exchange gradients in one piece.
            assert [gradient.shape for gradient in first] == [x.shape for x in inputs]
            along = sum(tf.reduce_sum(g * d) for g, d in zip(first, directions, strict=True))
        second = outer.gradient(along, [*inputs, dy], unconnected_gradients="zero")
        return [y, *first, *second]

    tensors = [[tf.convert_to_tensor(x) for x in values] for values in (inputs, directions)]
    run = tf.function(run, autograph=False) if traced else run
    return run(tensors[0], tf.convert_to_tensor(dy), tensors[1])


def check_by_differences(
    function: Callable, definition: Callable, inputs: Sequence, *, step: float = 1e-3
) -> None:
    """Compare first and second derivatives of `function` with differences of `definition`.

    definition: the same in NumPy, exact in float64. The first derivative is checked by each input
    (relative error 1e-5), the second along a random direction (1e-3), by differences over `step`.
    """
    random = np.random.default_rng(1)
    exact = [np.float64(x) for x in inputs]

    def normal(shape):
        return random.normal(size=shape).astype(np.float32)

    dy = normal(definition(*exact).shape)
    directions = [normal(np.shape(x)) for x in inputs]

    def slope(at: Sequence, along: Sequence) -> float:
        """d/dt of sum(dy * definition(at + t along)) at t = 0."""

        def value(t):
            moved = [a + t * d for a, d in zip(at, along, strict=True)]
            return (dy * definition(*moved)).sum()

        t = 1e-5
        return (8 * (value(t) - value(-t)) - (value(2 * t) - value(-2 * t))) / (12 * t)

    results = derivatives(function, inputs, dy, directions, traced=True)
    first, second = results[1 : 1 + len(inputs)], results[1 + len(inputs) : -1]
    for i, gradient in enumerate(first):
        alone = [d if i == j else 0 * d for j, d in enumerate(directions)]
        size = np.linalg.norm(gradient) * np.linalg.norm(directions[i]) + 1
        error = float(tf.reduce_sum(gradient * directions[i])) - slope(exact, alone)
        assert abs(error) < 1e-5 * size

    ends = [
        slope([x + s * d for x, d in zip(exact, directions, strict=True)], directions)
        for s in (step, -step)
    ]
    expected = (ends[0] - ends[1]) / (2 * step)
    pairs = list(zip(second, directions, strict=True))
    actual = sum(float(tf.reduce_sum(g * d)) for g, d in pairs)
    scale = sum(np.linalg.norm(g) * np.linalg.norm(d) for g, d in pairs)
    assert abs(actual - expected) < 1e-3 * abs(expected) + 1e-5 * scale
