"""Adam as TensorFlow 1 has it, with lazy regularisation, accumulation and loss scaling."""

import tensorflow as tf

from dnnlib.flat import Layout
from training.flat import PartOfVariable


class LossScale(tf.Module):
    """What a loss is multiplied by so that its gradients fit into float16.

    Micikevicius et al. (2018), section 3.2: halved after a gradient that is not finite (its
    step is skipped), doubled after INTERVAL good ones.
    """

    INTERVAL, SMALLEST, LARGEST = 2000, 1.0, 2.0**24

    def __init__(self):
        super().__init__()
        self.value = tf.Variable(2.0**15, trainable=False, name="loss_scale/value")
        self.good_steps = tf.Variable(0, trainable=False, name="loss_scale/good_steps")

    def move(self, is_finite: tf.Tensor) -> None:
        """Adjust the scale after a step, by whether its gradient was finite."""
        good = tf.where(is_finite, self.good_steps.read_value() + 1, 0)
        is_long = good == self.INTERVAL
        factor = tf.where(is_finite, tf.where(is_long, 2.0, 1.0), 0.5)
        value = tf.clip_by_value(self.value.read_value() * factor, self.SMALLEST, self.LARGEST)
        update(self.value, lambda variable, x: variable.assign(x), value)
        update(self.good_steps, lambda variable, x: variable.assign(x), tf.where(is_long, 0, good))

    def overflow(self, norm: tf.Tensor) -> tf.Tensor:
        """Return 1.0 if a gradient is not finite while a smaller scale may still help, else 0.0."""
        is_overflow = ~tf.math.is_finite(norm) & (self.value.read_value() > self.SMALLEST)
        return tf.cast(is_overflow, tf.float32)


class Adam(tf.Module):
    """Kingma & Ba (2015), on a fixed list of variables.

    All that it computes is computed on flat gradients: one matrix for all variables, see Layout.

    One step with gradient g: m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
    x <- x - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon).

    lazy_interval: number of steps after which a regulariser makes an update of its own, with the
      same m, v and t. Karras et al. (2020), appendix B: with c = interval / (interval + 1), the
      rate is multiplied by c, and b1, b2 are raised to the power c. None: no such update.
    accumulate: number of calls whose gradients are averaged into one step, for each kind.
    clip: bound on the global norm of each gradient, before accumulation.
    loss_scale: for float16. A step whose gradient is not finite is then skipped; without it, the
      elements that are not finite are taken as 0, as in the official code.
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
        loss_scale: LossScale | None = None,
    ):
        super().__init__()
        correction = 1.0 if lazy_interval is None else lazy_interval / (lazy_interval + 1)
        self.learning_rate = learning_rate * correction
        self.beta1, self.beta2 = beta1**correction, beta2**correction
        self.epsilon, self.accumulate, self.clip = epsilon, accumulate, clip
        self.loss_scale = loss_scale
        self.targets = list(variables)
        self.layout = Layout([variable.shape for variable in self.targets])
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        flat = lambda name: tf.Variable(tf.zeros(self.layout.shape), trainable=False, name=name)  # noqa: E731
        # The values of the targets: only inside a step; after it they share their memory.
        self.flat_values, self.flat_m, self.flat_v = flat("values"), flat("m"), flat("v")
        self.accumulators = {kind: flat(kind) for kind in self.KINDS if accumulate > 1}

    @property
    def m(self) -> list[PartOfVariable]:
        """The first moment of each variable."""
        return self._parts(self.flat_m, "m")

    @property
    def v(self) -> list[PartOfVariable]:
        """The second moment of each variable."""
        return self._parts(self.flat_v, "v")

    def _parts(self, flat: tf.Variable, name: str) -> list[PartOfVariable]:
        names = [f"{name}/{variable.name.removesuffix(':0')}" for variable in self.targets]
        return [PartOfVariable(flat, self.layout, n, name) for n, name in enumerate(names)]

    def gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        """Return the flat gradient of a loss, computed at the loss scale."""
        scale = None if self.loss_scale is None else self.loss_scale.value.read_value()
        gradients = tape.gradient(
            loss, self.targets, output_gradients=scale, unconnected_gradients="zero"
        )
        flat = self.layout.join(gradients)
        return flat if scale is None else flat / scale

    def update(self, gradient: tf.Tensor, *, kind: str = "main", apply: bool = True) -> tf.Tensor:
        """Accumulate a flat gradient, and make a step if this is the last of `accumulate` calls.

        Must be called where all replicas are one (outside strategy.run), with a summed gradient.
        Returns the global norm of the gradient, before clipping.
        """
        gradient, norm = self._condition(gradient)
        if self.accumulate > 1:
            accumulator = self.accumulators[kind]
            update(accumulator, lambda a, g: a.assign_add(g / self.accumulate), gradient)
            gradient = tf.identity(accumulator)
        if apply:
            self._step(gradient)
            if self.accumulate > 1:
                update(accumulator, lambda a: a.assign(tf.zeros_like(a)))
        return norm

    def _condition(self, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        norm = tf.linalg.global_norm([gradient])
        if self.clip is not None:
            (gradient,), _ = tf.clip_by_global_norm([gradient], self.clip, use_norm=norm)
        if self.loss_scale is not None:
            return gradient, norm  # as it is: one bad element skips the step
        return tf.where(tf.math.is_finite(gradient), gradient, 0.0), norm

    def _step(self, gradient: tf.Tensor) -> None:
        rates = (self.learning_rate, self.beta1, self.beta2)
        if self.loss_scale is None:
            update(self.step, lambda step: step.assign_add(1))
            count = tf.cast(self.step, tf.float32)
        else:
            gradient, rates, count = self._count_if_finite(gradient, rates)
        powers = (tf.pow(self.beta1, count), tf.pow(self.beta2, count))
        slots = (self.flat_m, self.flat_v, self.targets)
        update(self.flat_values, self._apply, *slots, gradient, *rates, *powers)

    def _count_if_finite(self, gradient, rates):
        """Count a step and move the loss scale; return gradient and rates that skip a bad step.

        Rate 0 and betas of 1 leave variables, m and v as they are.
        """
        is_finite = tf.math.is_finite(tf.linalg.global_norm([gradient]))
        self.loss_scale.move(is_finite)
        update(self.step, lambda step, n: step.assign_add(n), tf.cast(is_finite, tf.int64))
        gradient = tf.where(is_finite, gradient, 0.0)
        rates = [
            tf.where(is_finite, x, none) for x, none in zip(rates, (0.0, 1.0, 1.0), strict=True)
        ]
        # The very first step may be skipped, and 0 steps have no bias correction.
        return gradient, rates, tf.maximum(tf.cast(self.step, tf.float32), 1.0)

    def _apply(
        self, values, m, v, targets, gradient, rate, beta1, beta2, beta1_power, beta2_power
    ) -> None:
        values.assign(self.layout.join(targets))
        tf.raw_ops.ResourceApplyAdam(
            var=values.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            epsilon=self.epsilon,
            grad=gradient,
        )
        _assign_all(targets, self.layout.split(values.read_value()))


def average_weights(average: tf.Module, source: tf.Module, beta: tf.Tensor | float) -> None:
    """Move each trainable variable of `average` to g + (average - g) beta; copy all others."""
    pairs = list(zip(average.variables, source.variables, strict=True))
    trained = [(a, g) for a, g in pairs if a.trainable]
    for variable, value in pairs:
        if not variable.trainable:
            update(variable, lambda a, g: a.assign(g), value)
    if not trained:
        return
    averages, values = zip(*trained, strict=True)
    layout = Layout([variable.shape for variable in averages])

    def move(_, averages, values) -> None:
        a, g = layout.join(averages), layout.join(values)
        _assign_all(averages, layout.split(g + (a - g) * beta))

    update(averages[0], move, averages, values)


def _assign_all(variables: list[tf.Variable], values: list[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value, read_value=False)


def update(variable: tf.Variable, function, *arguments) -> None:
    """Call function(variable, *arguments) on each device's copy of the variable."""
    tf.distribute.get_strategy().extended.update(variable, function, args=arguments, group=True)
