"""One minibatch of training, in the order of the official program.

For each micro-batch: generator; its path-length regulariser, if due; discriminator; its gradient
regulariser, if due, on the same reals. Gradients of the micro-batches are accumulated; the step is
made with the last one, so that the discriminator's last micro-batch meets the new generator. After
all of them the moving average of the generator follows.

Each phase is traced once for each of its structures; no graph branches. What runs on a replica is a
pure function to gradients and statistics; all state changes where replicas are one. N replicas get
the same result as one replica with N times the batch: each image draws its own random numbers, and
images that minibatch stddev compares stay together.
"""

from collections.abc import Iterator

import tensorflow as tf

from datasets.dataset import Dataset
from training import regularizers
from training.augmentation import augment
from training.config import RunConfig
from training.draws import Sampler, generate, synthesize
from training.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from training.optimizer import Adam, average_weights, update
from training.replicas import Replicas, mean_over_replicas
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
        group = config.discriminator.stddev_group or 1
        self.replicas = Replicas(training.batch_per_device, group)
        self.micro_batch = self.replicas.micro_batch
        self.micro_batches = training.batch_size // self.micro_batch
        self.generator_loss = GENERATOR_LOSSES[training.generator_loss]
        self.discriminator_loss = DISCRIMINATOR_LOSSES[training.discriminator_loss]

    def run_minibatch(self, reals: Iterator[tuple[tf.Tensor, tf.Tensor]]) -> list[Statistics]:
        """Train on the next `batch_size` pictures of `reals`, as `batches` gives them.

        Returns the statistics of its phases, as scalar tensors that are not yet waited for.
        """
        training = self.config.training
        shown = int(self.state.images_shown.numpy())
        minibatch = shown // training.batch_size
        statistics = []
        for micro_batch in range(self.micro_batches):
            images, labels = next(reals)
            first = tf.constant(shown + micro_batch * self.micro_batch, tf.int64)
            last = micro_batch == self.micro_batches - 1
            statistics.append(self.train_generator(labels, first, apply=last))
            if training.path_length_weight and minibatch % training.path_length_interval == 0:
                statistics.append(self.regularize_generator(labels, first, apply=last))
            statistics.append(self.train_discriminator(images, labels, first, apply=last))
            if training.regularizer != "none" and minibatch % training.regularizer_interval == 0:
                statistics.append(self.regularize_discriminator(images, labels, first, apply=last))
        self.finish_minibatch()
        return statistics

    def batches(self, dataset: Dataset) -> tf.data.Dataset:
        """Return micro-batches (uint8 [B, H, W, C], labels [B, L]) from where the state is.

        They hold the pictures of this process's replicas only, replica after replica.
        """
        return dataset.batches(
            self.micro_batch,
            seed=self.config.training.seed,
            start=int(self.state.images_shown.numpy()),
            part=self.replicas.images_here,
            drop_labels=not self.config.data.labels,
        )

    @tf.function(autograph=False)
    def train_generator(self, labels: tf.Tensor, first: tf.Tensor, *, apply: bool) -> Statistics:
        """Follow the gradient of the generator's loss."""
        gradients, statistics, w_mean = self.replicas.run(self._generator_gradients, labels, first)
        self._move_w_avg(w_mean)
        followed = self._follow("generator", gradients, apply=apply)
        return {**statistics, **followed}

    def _generator_gradients(self, labels: tf.Tensor, first: tf.Tensor):
        state, images = self.state, self.replicas.my_images()
        draws = self.sampler.draw("generator", first + images, first)
        labels = self._labels(labels)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.generator_optimizer.targets)
            fakes, _, w_mean = generate(state.generator, draws, labels)
            fakes = self._augment(fakes, "generator", first + images)
            scores = state.discriminator(fakes, labels, random=draws.random)
            loss = tf.reduce_mean(self.generator_loss(scores))
        gradients = state.generator_optimizer.gradients(tape, loss)
        return gradients, {"loss/generator": loss}, w_mean

    @tf.function(autograph=False)
    def regularize_generator(
        self, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Follow the gradient of the path-length penalty, Karras et al. (2020), section 3.2."""
        gradients, statistics, w_mean = self.replicas.run(
            self._path_length_gradients, labels, first
        )
        self._move_w_avg(w_mean)
        move = lambda mean, x: mean.assign(self._if_finite(x, mean))  # noqa: E731
        update(self.state.path_length_mean, move, statistics["path_length"])
        followed = self._follow("path_length", gradients, kind="regularizer", apply=apply)
        return {**statistics, **followed}

    def _path_length_gradients(self, labels: tf.Tensor, first: tf.Tensor):
        state, training = self.state, self.config.training
        count = max(training.batch_per_device // 2, 1)
        images = self.replicas.my_images()[:count]
        draws = self.sampler.draw("path length", first + images, first)
        stream = self.sampler.stream("path length/image", first + images)
        image_noise = stream.normal(state.generator.image_shape)
        labels = self._labels(labels, count)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.generator_optimizer.targets)
            penalty, mean, w_mean = self._path_penalty(draws, labels, image_noise)
            loss = tf.reduce_mean(penalty) * training.path_length_interval
        gradients = state.generator_optimizer.gradients(tape, loss)
        return gradients, {"loss/path_length": tf.reduce_mean(penalty), "path_length": mean}, w_mean

    def _path_penalty(self, draws, labels, image_noise):
        """Return the penalty [B], the new running mean of the lengths, and the mean of w."""
        generator, training = self.state.generator, self.config.training
        _, w, w_mean = generate(generator, draws, labels)
        lengths = regularizers.path_lengths(
            lambda w: synthesize(generator, w, draws),
            w,
            image_noise,
            scale=self._inner_scale("path_length"),
        )
        old = self.state.path_length_mean.read_value()
        batch_mean = mean_over_replicas(tf.reduce_mean(lengths))
        mean = old + training.path_length_decay * (batch_mean - old)
        return training.path_length_weight * tf.square(lengths - mean), mean, w_mean

    @tf.function(autograph=False)
    def train_discriminator(
        self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Follow the gradient of the discriminator's loss."""
        result = self.replicas.run(self._discriminator_gradients, reals, labels, first)
        gradients, statistics, w_mean = result
        self._move_w_avg(w_mean)
        if self.state.adaptive:
            sign = self._if_finite(statistics["augmentation/sign"], 0.0)
            self.state.adaptive.observe(sign, 1 / self.micro_batches)
        followed = self._follow("discriminator", gradients, apply=apply)
        return {**statistics, **followed}

    def _discriminator_gradients(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor):
        state, images = self.state, self.replicas.my_images()
        draws = self.sampler.draw("discriminator", first + images, first)
        reals, labels = self._prepare(reals, images, first), self._labels(labels)
        fakes, _, w_mean = generate(state.generator, draws, labels)
        fakes = self._augment(fakes, "fake", first + images)
        reals = self._augment(reals, "real", first + images)
        fold = lambda name: draws.random and draws.random.fold(name)  # noqa: E731
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.discriminator_optimizer.targets)
            fake_scores = state.discriminator(fakes, labels, random=fold("fake"))
            real_scores = state.discriminator(reals, labels, random=fold("real"))
            loss = tf.reduce_mean(self.discriminator_loss(fake_scores, real_scores))
        statistics = {
            "loss/discriminator": loss,
            "score/fake": tf.reduce_mean(fake_scores),
            "score/real": tf.reduce_mean(real_scores),
        }
        if state.adaptive:
            statistics["augmentation/sign"] = tf.reduce_mean(tf.sign(real_scores))
            statistics["augmentation/p"] = tf.identity(state.adaptive.p)
        return state.discriminator_optimizer.gradients(tape, loss), statistics, w_mean

    @tf.function(autograph=False)
    def regularize_discriminator(
        self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor, *, apply: bool
    ) -> Statistics:
        """Follow the gradient of the discriminator's regulariser."""
        gradients, statistics = self.replicas.run(self._penalty_gradients, reals, labels, first)
        followed = self._follow("regularizer", gradients, kind="regularizer", apply=apply)
        return {**statistics, **followed}

    def _penalty_gradients(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor):
        state, images = self.state, self.replicas.my_images()
        reals, labels = self._prepare(reals, images, first), self._labels(labels)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.discriminator_optimizer.targets)
            penalty = tf.reduce_mean(self._penalty(reals, labels, images, first))
            loss = penalty * self.config.training.regularizer_interval
        gradients = state.discriminator_optimizer.gradients(tape, loss)
        return gradients, {"loss/regularizer": penalty}

    def _penalty(self, reals, labels, images, first) -> tf.Tensor:
        """Return the regulariser of each sample, [B]."""
        training = self.config.training
        stream = self.sampler.stream("regularizer", first + images)

        def scores(x: tf.Tensor) -> tf.Tensor:
            x = self._augment(x, "regularizer", first + images)
            return self.state.discriminator(x, labels, random=stream)

        scale = self._inner_scale("regularizer")
        if training.regularizer == "r1":
            return regularizers.gradient_square(scores, reals, training.gamma, scale=scale)
        draws = self.sampler.draw("regularizer", first + images, first)
        fakes, _, _ = generate(self.state.generator, draws, labels)
        if training.regularizer == "r2":
            return regularizers.gradient_square(scores, fakes, training.gamma, scale=scale)
        mixing = stream.fold("mix").uniform([1, 1, 1])
        return regularizers.gradient_penalty(
            scores, reals, fakes, mixing, training.gamma, scale=scale
        )

    @tf.function(autograph=False)
    def finish_minibatch(self) -> None:
        """Let the moving average follow, and count."""
        training = self.config.training
        beta = 0.5 ** (training.batch_size / (training.ema_kimg * 1000))
        average_weights(self.state.average, self.state.generator, beta)
        update(self.state.images_shown, lambda shown: shown.assign_add(training.batch_size))
        if self.state.adaptive:
            self.state.adaptive.adapt(self.state.images_shown)

    def gradients(self, phase: str, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the gradients, by variable, that a phase ("norm/" PHASE) would follow next."""
        of_generator, of_discriminator = (labels,), (images, labels)
        function, arguments = {
            "generator": (self._generator_gradients, of_generator),
            "path_length": (self._path_length_gradients, of_generator),
            "discriminator": (self._discriminator_gradients, of_discriminator),
            "regularizer": (self._penalty_gradients, of_discriminator),
        }[phase]
        run = tf.function(
            lambda *tensors: self.replicas.run(function, *tensors)[0], autograph=False
        )
        gradients = run(*arguments, self.state.images_shown.read_value())
        letter = "G" if arguments is of_generator else "D"
        names = [f"{letter}/{v.name[:-2]}" for v in self._optimizer(phase).targets]
        return dict(zip(names, gradients, strict=True))

    def _optimizer(self, phase: str) -> Adam:
        state, of_generator = self.state, ("generator", "path_length")
        return state.generator_optimizer if phase in of_generator else state.discriminator_optimizer

    def _follow(self, phase: str, gradients: list[tf.Tensor], **options) -> Statistics:
        """Hand a phase's gradient to its optimiser."""
        scale = self._optimizer(phase).loss_scale
        norm = self._optimizer(phase).update(gradients, **options)
        if scale is None:
            return {f"norm/{phase}": norm}
        return {
            f"norm/{phase}": norm,
            f"overflow/{phase}": scale.overflow(norm),
            f"loss_scale/{phase}": scale.value.read_value(),
        }

    def _inner_scale(self, phase: str) -> tf.Tensor | None:
        """Return the loss scale of a gradient inside a loss.

        The root: what passes back through that gradient is the loss scale divided by it.
        """
        scale = self._optimizer(phase).loss_scale
        return scale and tf.sqrt(scale.value.read_value())

    def _labels(self, labels: tf.Tensor, count: int | None = None) -> tf.Tensor | None:
        return self.replicas.my_part(labels)[:count] if self.state.generator.label_dim else None

    def _prepare(self, reals: tf.Tensor, images: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """From uint8 to [-1, 1], on the canvas, flipped with probability 1/2 if the run mirrors."""
        reals = self.state.discriminator.canvas.crop(self.replicas.my_part(reals))
        reals = tf.cast(reals, tf.float32) * (2 / 255) - 1
        if not self.config.data.mirror:
            return reals
        flip = self.sampler.stream("mirror", first + images).uniform([1, 1, 1]) < 0.5
        return tf.where(flip, tf.reverse(reals, axis=[2]), reals)

    def _augment(self, pictures: tf.Tensor, phase: str, index: tf.Tensor) -> tf.Tensor:
        """Return what the discriminator is shown in place of these pictures."""
        config = self.config.training.augmentation
        if config.mode == "none":
            return pictures
        p = self.state.adaptive.p if self.state.adaptive else config.p
        return augment(pictures, self.sampler.stream(f"augmentation/{phase}", index), config, p)

    def _if_finite(self, value: tf.Tensor, otherwise: tf.Tensor | float) -> tf.Tensor:
        """Return what may enter the state: with float16, no overflow."""
        if self.state.generator_optimizer.loss_scale is None:
            return value
        return tf.where(tf.math.is_finite(value), value, otherwise)

    def _move_w_avg(self, w_mean: tf.Tensor) -> None:
        move = lambda w_avg, mean: w_avg.assign(mean + (w_avg - mean) * W_AVG_DECAY)  # noqa: E731
        update(self.state.generator.w_avg, move, w_mean)
