"""One minibatch of training, in the order of the official program.

For each micro-batch: generator; its path-length regulariser, if due; discriminator; its gradient
regulariser, if due, on the same reals. (With training.share_fakes, which that program has not,
generator and discriminator at once, on the same fakes.) Gradients of the micro-batches are
accumulated; the step is made with the last one, so that the discriminator's last micro-batch meets
the new generator. After all of them the moving average of the generator is updated.

Each phase is traced once for each of its structures; no graph branches. What runs on a replica is a
pure function to gradients and statistics; all state changes where replicas are one. N replicas get
the same result as one replica with N times the batch: each image draws its own random numbers, and
images that minibatch stddev compares stay together.
"""

from collections.abc import Iterator

import tensorflow as tf

from datasets.dataset import Dataset
from dnnlib.devices import on_host
from training.config import RunConfig
from training.optimizer import average_weights, update
from training.phases import Phase, make_phases
from training.randomness import Randomness
from training.replicas import Replicas
from training.state import TrainState

W_AVG_DECAY = 0.995
Statistics = dict[str, tf.Tensor]


class TrainingStep:
    """Runs minibatches on a state.

    phases: the gradient steps by name, in their order.
    """

    def __init__(self, config: RunConfig, state: TrainState, randomness: Randomness | None = None):
        self.config, self.state = config, state
        training = config.training
        self.randomness = randomness or Randomness(
            state.generator,
            seed=training.seed,
            style_mixing=training.style_mixing,
            component_mixing=training.component_mixing,
        )
        group = config.discriminator.stddev_group or 1
        self.replicas = Replicas(state.strategy, training.batch_per_device, group)
        self.micro_batch = self.replicas.micro_batch
        self.micro_batches = training.batch_size // self.micro_batch
        self.phases = make_phases(config, state, self.randomness, self.replicas)

    def batches(self, dataset: Dataset) -> tf.data.Dataset:
        """Return micro-batches (uint8 [B, H, W, C], labels [B, L]) from where the state is.

        They hold the images of this process's replicas only, replica after replica.
        """
        return dataset.batches(
            self.micro_batch,
            seed=self.config.training.seed,
            start=int(self.state.images_shown.numpy()),
            part=self.replicas.images_here,
            drop_labels=not self.config.data.labels,
        )

    def run_minibatch(self, reals: Iterator[tuple[tf.Tensor, tf.Tensor]]) -> list[Statistics]:
        """Train on the next `batch_size` images of `reals`, as `batches` gives them.

        Returns the statistics of its phases, as scalar tensors that are not yet waited for.
        """
        shown = int(self.state.images_shown.numpy())
        minibatch = shown // self.config.training.batch_size
        due = [phase for phase in self.phases.values() if minibatch % phase.interval == 0]
        statistics = []
        for micro_batch in range(self.micro_batches):
            images, labels = next(reals)
            with on_host():
                first = tf.constant(shown + micro_batch * self.micro_batch, tf.int64)
            last = micro_batch == self.micro_batches - 1
            for phase in due:
                statistics.append(self.run_phase(phase, images, labels, first, apply=last))
        self.state.images_shown.assign_add(self.config.training.batch_size)
        self.finish_minibatch(self.state.images_shown.read_value())
        return statistics

    @tf.function(autograph=False)
    def run_phase(
        self, phase: Phase, images: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Pass the gradients of a phase's loss to its optimisers, and return the statistics.

        first: number of the micro-batch's first image, int64. apply: whether the optimisers make
        their step, with this gradient and those that they have accumulated.
        """
        result = self.replicas.run(phase.gradients, images, labels, first)
        gradients, statistics, observed = result
        statistics = dict(statistics)
        self._move_averages(observed)
        for name, optimizer in phase.optimizers.items():
            norm = optimizer.update(gradients[name], kind=phase.kind, apply=apply)
            statistics[f"norm/{name}"] = norm
            if optimizer.loss_scale is not None:
                statistics[f"overflow/{name}"] = optimizer.loss_scale.overflow(norm)
                statistics[f"loss_scale/{name}"] = optimizer.loss_scale.value.read_value()
        return statistics

    def _move_averages(self, observed: dict[str, tf.Tensor]) -> None:
        """Move the running averages of the state towards what a phase observed."""
        state = self.state
        if "w" in observed:
            update(
                state.generator.w_avg,
                lambda w_avg, mean: w_avg.assign(mean + (w_avg - mean) * W_AVG_DECAY),
                observed["w"],
            )
        if "path_length" in observed:
            update(
                state.path_length_mean,
                lambda mean, x: mean.assign(self._if_finite(x, mean)),
                observed["path_length"],
            )
        if "sign of real scores" in observed:
            sign = self._if_finite(observed["sign of real scores"], 0.0)
            state.adaptive.observe(sign, 1 / self.micro_batches)

    def _if_finite(self, value: tf.Tensor, otherwise: tf.Tensor | float) -> tf.Tensor:
        """Return what may enter the state: with float16, no overflow."""
        if self.state.generator_optimizer.loss_scale is None:
            return value
        return tf.where(tf.math.is_finite(value), value, otherwise)

    @tf.function(autograph=False)
    def finish_minibatch(self, images_shown: tf.Tensor) -> None:
        """Update the moving average of the generator, and what depends on the number of images."""
        training = self.config.training
        half_life = training.ema_kimg * 1000
        if training.ema_rampup is not None:
            shown = tf.cast(images_shown, tf.float32)
            half_life = tf.minimum(half_life, training.ema_rampup * shown)
        beta = 0.5 ** (training.batch_size / half_life)
        average_weights(self.state.average, self.state.generator, beta)
        if self.state.adaptive:
            self.state.adaptive.adapt(images_shown)

    def gradients(self, phase: Phase, images: tf.Tensor, labels: tf.Tensor) -> Statistics:
        """Return the gradients of a phase for the next minibatch, by name of the variable."""
        run = tf.function(
            lambda *tensors: self.replicas.run(phase.gradients, *tensors)[0], autograph=False
        )
        flat = run(images, labels, self.state.images_shown.read_value())
        names = {id(variable): name for name, variable in self.state.by_name().items()}
        return {
            names[id(variable)]: gradient
            for name, optimizer in phase.optimizers.items()
            for variable, gradient in zip(
                optimizer.targets, optimizer.layout.split(flat[name]), strict=True
            )
        }
