"""One minibatch of training, in the order of the official program.

For each micro-batch: generator; its path-length regulariser, if due; discriminator; its gradient
regulariser, if due, on the same reals. Gradients of the micro-batches are accumulated; the step is
made with the last one, so that the discriminator's last micro-batch meets the new generator. After
all of them the moving average of the generator follows.

Each phase is traced once for each of its structures; no graph branches. What runs on a replica is a
pure function to gradients and statistics; all state changes where replicas are one.
"""

from collections.abc import Iterator

import tensorflow as tf

from training import regularizers
from training.config import RunConfig
from training.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from training.optimizer import Adam, average_weights
from training.sampler import Sampler, generate, synthesize
from training.state import TrainState

W_AVG_DECAY = 0.995
Statistics = dict[str, tf.Tensor]


class TrainingStep:
    """Runs minibatches on a state."""

    def __init__(self, config: RunConfig, state: TrainState, sampler: Sampler | None = None):
        self.config, self.state = config, state
        training = config.training
        self.sampler = sampler or Sampler(
            state.generator,
            seed=training.seed,
            style_mixing=training.style_mixing,
            component_mixing=training.component_mixing,
        )
        self.micro_batches = training.batch_size // training.batch_per_device
        self.generator_loss = GENERATOR_LOSSES[training.generator_loss]
        self.discriminator_loss = DISCRIMINATOR_LOSSES[training.discriminator_loss]

    def run_minibatch(self, reals: Iterator[tuple[tf.Tensor, tf.Tensor]]) -> list[Statistics]:
        """Train on the next `batch_size` pictures of `reals` (uint8 [B, H, W, C], labels [B, L]).

        Returns the statistics of its phases, as scalar tensors that are not yet waited for.
        """
        training = self.config.training
        shown = int(self.state.images_shown.numpy())
        minibatch = shown // training.batch_size
        statistics = []
        for micro_batch in range(self.micro_batches):
            images, labels = next(reals)
            first = tf.constant(shown + micro_batch * training.batch_per_device, tf.int64)
            last = micro_batch == self.micro_batches - 1
            statistics.append(self.train_generator(labels, first, apply=last))
            if training.path_length_weight and minibatch % training.path_length_interval == 0:
                statistics.append(self.regularize_generator(labels, first, apply=last))
            statistics.append(self.train_discriminator(images, labels, first, apply=last))
            if training.regularizer != "none" and minibatch % training.regularizer_interval == 0:
                statistics.append(self.regularize_discriminator(images, labels, first, apply=last))
        self.finish_minibatch()
        return statistics

    @tf.function(autograph=False)
    def train_generator(self, labels: tf.Tensor, first: tf.Tensor, *, apply: bool) -> Statistics:
        """Follow the gradient of the generator's loss."""
        state = self.state
        draws = self._draw("generator", first)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.generator_optimizer.targets)
            fakes, _, w_mean = generate(state.generator, draws, self._labels(labels))
            scores = state.discriminator(fakes, self._labels(labels), random=draws.random)
            loss = tf.reduce_mean(self.generator_loss(scores))
        norm = _follow(state.generator_optimizer, tape, loss, "main", apply)
        self._move_w_avg(w_mean)
        return {"loss/generator": loss, "norm/generator": norm}

    @tf.function(autograph=False)
    def regularize_generator(
        self, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Follow the gradient of the path-length penalty, Karras et al. (2020), section 3.2."""
        state, training = self.state, self.config.training
        count = max(training.batch_per_device // 2, 1)
        draws = self._draw("path length", first, count)
        shape = state.generator.image_shape
        image_noise = self.sampler.stream("path length/image", _range(first, count)).normal(shape)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.generator_optimizer.targets)
            penalty, mean, w_mean = self._path_penalty(draws, labels[:count], image_noise)
            loss = tf.reduce_mean(penalty) * training.path_length_interval
        norm = _follow(state.generator_optimizer, tape, loss, "regularizer", apply)
        state.path_length_mean.assign(mean)
        self._move_w_avg(w_mean)
        penalty = tf.reduce_mean(penalty)
        return {"loss/path_length": penalty, "path_length": mean, "norm/path_length": norm}

    def _path_penalty(self, draws, labels, image_noise):
        """Return the penalty [B], the new running mean of the lengths, and the mean of w."""
        generator, training = self.state.generator, self.config.training
        _, w, w_mean = generate(generator, draws, self._labels(labels))
        lengths = regularizers.path_lengths(
            lambda w: synthesize(generator, w, draws), w, image_noise
        )
        old = self.state.path_length_mean.read_value()
        mean = old + training.path_length_decay * (tf.reduce_mean(lengths) - old)
        return training.path_length_weight * tf.square(lengths - mean), mean, w_mean

    @tf.function(autograph=False)
    def train_discriminator(
        self, images: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Follow the gradient of the discriminator's loss."""
        state = self.state
        draws = self._draw("discriminator", first)
        reals = self._prepare(images, first)
        fakes, _, w_mean = generate(state.generator, draws, self._labels(labels))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.discriminator_optimizer.targets)
            fake_scores = self._score(fakes, labels, draws, "fake")
            real_scores = self._score(reals, labels, draws, "real")
            loss = tf.reduce_mean(self.discriminator_loss(fake_scores, real_scores))
        norm = _follow(state.discriminator_optimizer, tape, loss, "main", apply)
        self._move_w_avg(w_mean)
        return {
            "loss/discriminator": loss,
            "norm/discriminator": norm,
            "score/fake": tf.reduce_mean(fake_scores),
            "score/real": tf.reduce_mean(real_scores),
        }

    @tf.function(autograph=False)
    def regularize_discriminator(
        self, images: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Follow the gradient of the discriminator's regulariser."""
        state, training = self.state, self.config.training
        reals = self._prepare(images, first)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.discriminator_optimizer.targets)
            penalty = tf.reduce_mean(self._penalty(reals, labels, first))
            loss = penalty * training.regularizer_interval
        norm = _follow(state.discriminator_optimizer, tape, loss, "regularizer", apply)
        return {"loss/regularizer": penalty, "norm/regularizer": norm}

    def _penalty(self, reals, labels, first) -> tf.Tensor:
        """Return the regulariser of each sample, [B]."""
        training = self.config.training
        stream = self.sampler.stream("regularizer", _range(first, training.batch_per_device))
        scores = lambda images: self.state.discriminator(  # noqa: E731
            images, self._labels(labels), random=stream
        )
        if training.regularizer == "r1":
            return regularizers.gradient_square(scores, reals, training.gamma)
        draws = self._draw("regularizer", first)
        fakes, _, _ = generate(self.state.generator, draws, self._labels(labels))
        if training.regularizer == "r2":
            return regularizers.gradient_square(scores, fakes, training.gamma)
        mixing = stream.fold("mix").uniform([1, 1, 1])
        return regularizers.gradient_penalty(scores, reals, fakes, mixing, training.gamma)

    @tf.function(autograph=False)
    def finish_minibatch(self) -> None:
        """Let the moving average follow, and count."""
        training = self.config.training
        beta = 0.5 ** (training.batch_size / (training.ema_kimg * 1000))
        average_weights(self.state.average, self.state.generator, beta)
        self.state.images_shown.assign_add(training.batch_size)

    def _score(self, images, labels, draws, name: str) -> tf.Tensor:
        random = draws.random and draws.random.fold(name)
        return self.state.discriminator(images, self._labels(labels), random=random)

    def _draw(self, phase: str, first: tf.Tensor, count: int | None = None):
        count = count or self.config.training.batch_per_device
        return self.sampler.draw(phase, _range(first, count), first)

    def _labels(self, labels: tf.Tensor) -> tf.Tensor | None:
        return labels if self.state.generator.label_dim else None

    def _prepare(self, images: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """From uint8 to [-1, 1], each flipped with probability 1/2 if the run mirrors."""
        reals = tf.cast(images, tf.float32) * (2 / 255) - 1
        if not self.config.data.mirror:
            return reals
        index = _range(first, self.config.training.batch_per_device)
        flip = self.sampler.stream("mirror", index).uniform([1, 1, 1]) < 0.5
        return tf.where(flip, tf.reverse(reals, axis=[2]), reals)

    def _move_w_avg(self, w_mean: tf.Tensor) -> None:
        w_avg = self.state.generator.w_avg
        w_avg.assign(w_mean + (w_avg - w_mean) * W_AVG_DECAY)


def _follow(optimizer: Adam, tape: tf.GradientTape, loss: tf.Tensor, kind: str, apply: bool):
    gradients = tape.gradient(loss, optimizer.targets, unconnected_gradients="zero")
    return optimizer.update(gradients, kind=kind, apply=apply)


def _range(first: tf.Tensor, count: int) -> tf.Tensor:
    return first + tf.range(count, dtype=tf.int64)
