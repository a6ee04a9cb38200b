"""Adam as TensorFlow 1 has it, with lazy regularisation and gradient accumulation."""

import tensorflow as tf


class Adam(tf.Module):
    """Kingma & Ba (2015), on a fixed list of variables.

    One step with gradient g: m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
    x <- x - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon).

    lazy_interval: a regulariser runs as an update of its own once in so many steps, with the same
      m, v and t. Karras et al. (2020), appendix B: with c = interval / (interval + 1), the rate is
      multiplied by c, and b1, b2 are raised to the power c. None: there is no such update.
    accumulate: gradients of so many calls are averaged into one step, separately for each kind.
    clip: bound on the global norm of each gradient, before accumulation.
    """

    KINDS = ("main", "regularizer")

    def __init__(
        self,
        variables: list[tf.Variable],
        *,
        learning_rate: float,
        beta1: float = 0.0,
        beta2: float = 0.99,
        epsilon: float = 1e-8,
        lazy_interval: int | None = None,
        accumulate: int = 1,
        clip: float | None = None,
    ):
        super().__init__()
        correction = 1.0 if lazy_interval is None else lazy_interval / (lazy_interval + 1)
        self.learning_rate = learning_rate * correction
        self.beta1, self.beta2 = beta1**correction, beta2**correction
        self.epsilon, self.accumulate, self.clip = epsilon, accumulate, clip
        self.targets = list(variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.m = [_zeros_like(variable, "m") for variable in self.targets]
        self.v = [_zeros_like(variable, "v") for variable in self.targets]
        self.accumulators = {}
        if accumulate > 1:
            self.accumulators = {
                kind: [_zeros_like(variable, kind) for variable in self.targets]
                for kind in self.KINDS
            }

    def update(self, gradients: list[tf.Tensor], *, kind: str = "main", apply: bool = True):
        """Take in one gradient, and make a step if this is the last of `accumulate` calls.

        Must be called where all replicas are one (outside strategy.run), with summed gradients.
        Returns the global norm of the gradient, before clipping.
        """
        gradients, norm = self._condition(gradients)
        if self.accumulate > 1:
            accumulators = self.accumulators[kind]
            for accumulator, gradient in zip(accumulators, gradients, strict=True):
                update(accumulator, lambda a, g: a.assign_add(g / self.accumulate), gradient)
            gradients = [tf.identity(accumulator) for accumulator in accumulators]
        if apply:
            self._step(gradients)
            for accumulator in self.accumulators.get(kind, []):
                update(accumulator, lambda a: a.assign(tf.zeros_like(a)))
        return norm

    def _condition(self, gradients: list[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        norm = tf.linalg.global_norm(gradients)
        if self.clip is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip, use_norm=norm)
        finite = [tf.where(tf.math.is_finite(g), g, tf.zeros_like(g)) for g in gradients]
        return finite, norm

    def _step(self, gradients: list[tf.Tensor]) -> None:
        update(self.step, lambda step: step.assign_add(1))
        count = tf.cast(self.step, tf.float32)
        powers = (tf.pow(self.beta1, count), tf.pow(self.beta2, count))
        for variable, m, v, gradient in zip(self.targets, self.m, self.v, gradients, strict=True):
            update(variable, self._apply, m, v, gradient, *powers)

    def _apply(self, variable, m, v, gradient, beta1_power, beta2_power):
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=self.learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def average_weights(average: tf.Module, source: tf.Module, beta: tf.Tensor | float) -> None:
    """Move each trainable variable of `average` to g + (average - g) beta; copy all others."""
    for variable, value in zip(average.variables, source.variables, strict=True):
        if variable.trainable:
            update(variable, lambda a, g: a.assign(g + (a - g) * beta), value)
        else:
            update(variable, lambda a, g: a.assign(g), value)


def update(variable: tf.Variable, function, *arguments) -> None:
    """Call function(variable, *arguments) on each device's copy of the variable."""
    tf.distribute.get_strategy().extended.update(variable, function, args=arguments, group=True)


def _zeros_like(variable: tf.Variable, name: str) -> tf.Variable:
    name = f"{name}/{variable.name.removesuffix(':0')}"
    return tf.Variable(tf.zeros(variable.shape), trainable=False, name=name)
