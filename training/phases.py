"""The four gradient steps of a minibatch, each a loss that one of the optimisers minimises.

Generator; path length (a regulariser of the generator); discriminator; gradient regulariser of the
discriminator. With training.share_fakes, generator and discriminator step at once. A loss is a pure
function, evaluated on each replica for its part of a micro-batch.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from dnnlib.devices import on_host
from dnnlib.random_streams import RandomStream
from gansformer.projected_discriminator import ProjectedDiscriminator
from training import regularizers
from training.augmentation.pipeline import augment
from training.config import RunConfig
from training.losses import DISCRIMINATOR_LOSSES, GENERATOR_LOSSES
from training.optimizer import Adam
from training.randomness import Draws, Randomness, generate, synthesize, twice
from training.replicas import Replicas, mean_over_replicas
from training.state import TrainState

COLORS_OUTSIDE_WEIGHT = 10.0


class Loss(NamedTuple):
    """What a phase computes on a replica.

    values: a scalar for each of its optimisers. statistics: scalars for the curves. observed: means
    that the running averages of the state move towards, see TrainingStep.
    """

    values: dict[str, tf.Tensor]
    statistics: dict[str, tf.Tensor]
    observed: dict[str, tf.Tensor]


class ScoredFakes(NamedTuple):
    """Generated images [B, H, W, C], their scores [B, S], and the mean of their w, see generate.

    random: what they were made with, see Draws.
    """

    images: tf.Tensor
    scores: tf.Tensor
    w_mean: tf.Tensor
    random: RandomStream | None


@dataclasses.dataclass(frozen=True, eq=False)
class Phase:
    """A gradient step, or several that are made at once.

    optimizers: what minimises the values of the loss, under the names of these. loss: function of
    (reals uint8 [B, H, W, C], labels [B, L], number of the micro-batch's first image). interval: it
    runs in every interval-th minibatch, with its loss multiplied by the interval (lazy
    regularisation). kind: see Adam.
    """

    optimizers: dict[str, Adam]
    loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Loss]
    interval: int = 1
    kind: str = "main"

    def gradients(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor):
        """Return the flat gradient of each optimiser, statistics, and what is observed."""
        tapes = {}
        with contextlib.ExitStack() as stack:
            for name, optimizer in self.optimizers.items():
                tape = tf.GradientTape(watch_accessed_variables=False)
                tapes[name] = stack.enter_context(tape)
                tape.watch(optimizer.targets)
            loss = self.loss(reals, labels, first)
            weighted = {name: value * self.interval for name, value in loss.values.items()}
        gradients = {
            name: optimizer.gradients(tapes[name], weighted[name])
            for name, optimizer in self.optimizers.items()
        }
        return gradients, loss.statistics, loss.observed


def make_phases(
    config: RunConfig, state: TrainState, randomness: Randomness, replicas: Replicas
) -> dict[str, Phase]:
    """Return the phases that a configuration has, by name, in the order of a minibatch."""
    losses, training = PhaseLosses(config, state, randomness, replicas), config.training
    of_generator, of_discriminator = state.generator_optimizer, state.discriminator_optimizer
    path_length = Phase(
        {"path_length": of_generator},
        losses.path_length,
        training.path_length_interval,
        "regularizer",
    )
    regularizer = Phase(
        {"regularizer": of_discriminator},
        losses.regularizer,
        training.regularizer_interval,
        "regularizer",
    )
    phases = {}
    if training.share_fakes:
        optimizers = {"generator": of_generator, "discriminator": of_discriminator}
        phases["adversarial"] = Phase(optimizers, losses.adversarial)
    else:
        phases["generator"] = Phase({"generator": of_generator}, losses.generator)
    if training.path_length_weight:
        phases["path_length"] = path_length
    if not training.share_fakes:
        phases["discriminator"] = Phase({"discriminator": of_discriminator}, losses.discriminator)
    if training.regularizer != "none":
        phases["regularizer"] = regularizer
    return phases


class PhaseLosses:
    """The loss of each phase."""

    def __init__(
        self, config: RunConfig, state: TrainState, randomness: Randomness, replicas: Replicas
    ):
        self.config, self.state = config, state
        self.randomness, self.replicas = randomness, replicas
        self.generator_loss = GENERATOR_LOSSES[config.training.generator_loss]
        self.is_relativistic = config.training.generator_loss == "relativistic"
        self.discriminator_loss = DISCRIMINATOR_LOSSES[config.training.discriminator_loss]
        is_projected = isinstance(state.discriminator, ProjectedDiscriminator)
        self.projected = state.discriminator if is_projected else None

    def generator(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor) -> Loss:
        """Return the generator's adversarial loss."""
        index, labels = self.replicas.my_images(first), self._labels(labels)
        fakes = self._scored_fakes(labels, index, first)
        real_scores = None
        if self.is_relativistic:
            real_scores = self._score_reals(reals, labels, index, fakes.random)
        return self._generator_loss(fakes, real_scores)

    def path_length(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor) -> Loss:
        """Return the path-length penalty of half a batch, Karras et al. (2020), section 3.2."""
        state, training = self.state, self.config.training
        count = max(training.batch_per_device // 2, 1)
        labels = self._labels(labels, count)
        with on_host():
            index = self.replicas.my_images(first)[:count]
        draws = self.randomness.draw("path length", index, first)
        stream = self.randomness.stream("path length/image", index)
        image_noise = stream.normal(state.generator.image_shape)
        _, w, w_mean = generate(state.generator, draws, labels)
        lengths = regularizers.path_lengths(
            lambda w: synthesize(state.generator, w, draws),
            w,
            image_noise,
            scale=_inner_scale(state.generator_optimizer),
        )
        old = state.path_length_mean.read_value()
        batch_mean = mean_over_replicas(tf.reduce_mean(lengths))
        mean = old + training.path_length_decay * (batch_mean - old)
        penalty = tf.reduce_mean(training.path_length_weight * tf.square(lengths - mean))
        statistics = {"loss/path_length": penalty, "path_length": mean}
        return Loss({"path_length": penalty}, statistics, {"w": w_mean, "path_length": mean})

    def discriminator(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor) -> Loss:
        """Return the discriminator's adversarial loss."""
        state, index = self.state, self.replicas.my_images(first)
        draws = self.randomness.draw("discriminator", index, first)
        reals, labels = self.prepare(reals, index), self._labels(labels)
        fakes, _, w_mean = generate(state.generator, draws, labels)
        fakes = self._augment(fakes, "fake", index)
        reals = self._augment(reals, "real", index)
        random = draws.random and draws.random.fold("fake").then(draws.random.fold("real"))
        scores = state.discriminator(
            tf.concat([fakes, reals], axis=0), twice(labels), batches=2, random=random
        )
        fake_scores, real_scores = tf.split(scores, 2, axis=0)
        return self._discriminator_loss(fake_scores, real_scores, w_mean)

    def adversarial(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor) -> Loss:
        """Return both networks' adversarial losses, of the same fakes."""
        index, labels = self.replicas.my_images(first), self._labels(labels)
        fakes = self._scored_fakes(labels, index, first)
        real_scores = self._score_reals(reals, labels, index, fakes.random)
        parts = (
            self._generator_loss(fakes, real_scores),
            self._discriminator_loss(fakes.scores, real_scores, fakes.w_mean),
        )
        return Loss(*({k: v for part in parts for k, v in part[n].items()} for n in range(3)))

    def _scored_fakes(
        self, labels: tf.Tensor | None, index: tf.Tensor, first: tf.Tensor
    ) -> ScoredFakes:
        draws = self.randomness.draw("generator", index, first)
        images, _, w_mean = generate(self.state.generator, draws, labels)
        shown = self._augment(images, "generator", index)
        scores = self.state.discriminator(shown, labels, random=draws.random)
        return ScoredFakes(images, scores, w_mean, draws.random)

    def _score_reals(
        self,
        reals: tf.Tensor,
        labels: tf.Tensor | None,
        index: tf.Tensor,
        random: RandomStream | None,
    ) -> tf.Tensor:
        reals = self._augment(self.prepare(reals, index), "real", index)
        return self.state.discriminator(reals, labels, random=random and random.fold("real"))

    def _generator_loss(self, fakes: ScoredFakes, real_scores: tf.Tensor | None = None) -> Loss:
        scores = [fakes.scores, real_scores] if self.is_relativistic else [fakes.scores]
        loss = _sum_of_games(self.generator_loss(*scores))
        statistics = {"loss/generator": loss}
        if self.projected:
            outside = regularizers.colors_outside(fakes.images)
            statistics["loss/colors_outside"] = outside
            loss += COLORS_OUTSIDE_WEIGHT * outside
        return Loss({"generator": loss}, statistics, {"w": fakes.w_mean})

    def _discriminator_loss(
        self, fake_scores: tf.Tensor, real_scores: tf.Tensor, w_mean: tf.Tensor
    ) -> Loss:
        loss = _sum_of_games(self.discriminator_loss(fake_scores, real_scores))
        statistics = {
            "loss/discriminator": loss,
            "score/fake": tf.reduce_mean(fake_scores),
            "score/real": tf.reduce_mean(real_scores),
        }
        observed = {"w": w_mean}
        if self.state.adaptive:
            sign = tf.reduce_mean(tf.sign(real_scores))
            statistics |= {
                "augmentation/sign": sign,
                "augmentation/p": tf.identity(self.state.adaptive.p),
            }
            observed["sign of real scores"] = sign
        return Loss({"discriminator": loss}, statistics, observed)

    def regularizer(self, reals: tf.Tensor, labels: tf.Tensor, first: tf.Tensor) -> Loss:
        """Return the discriminator's gradient penalty: R1, R2, both, or that of WGAN-GP.

        Heads on projected features have R1 and R2 with respect to these: what lies before is fixed.
        """
        state, training = self.state, self.config.training
        index = self.replicas.my_images(first)
        reals, labels = self.prepare(reals, index), self._labels(labels)
        stream = self.randomness.stream("regularizer", index)
        squared = [reals] if training.regularizer in ("r1", "r1_r2") else []
        if training.regularizer != "r1":
            draws: Draws = self.randomness.draw("regularizer", index, first)
            fakes, _, _ = generate(state.generator, draws, labels)
            squared += [fakes] if training.regularizer != "gp" else []
        scale = _inner_scale(state.discriminator_optimizer)
        on_images = self.projected.beside if self.projected else state.discriminator
        penalties = []

        def scores(images: tf.Tensor) -> tf.Tensor:
            images = self._augment(images, "regularizer", index)
            return on_images(images, labels, random=stream)

        if training.regularizer == "gp":
            mix = stream.fold("mix").uniform([1, 1, 1])
            penalties.append(
                regularizers.gradient_penalty(
                    scores, reals, fakes, mix, training.gamma, scale=scale
                )
            )
        for images in squared:
            if on_images:
                penalties.append(
                    regularizers.gradient_square(scores, images, training.gamma, scale=scale)
                )
            if self.projected:
                maps = self.projected.project(self._augment(images, "regularizer", index))
                penalties.append(
                    regularizers.gradient_square(
                        lambda maps: self.projected.score(maps, labels),
                        maps,
                        training.feature_gamma,
                        scale=scale,
                    )
                )
        penalty = tf.reduce_mean(tf.add_n(penalties))
        return Loss({"regularizer": penalty}, {"loss/regularizer": penalty}, {})

    def _labels(self, labels: tf.Tensor, count: int | None = None) -> tf.Tensor | None:
        return self.replicas.my_part(labels)[:count] if self.state.generator.label_dim else None

    def prepare(self, reals: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """Return reals in [-1, 1], cropped to the canvas, half of them mirrored if configured."""
        reals = self.state.discriminator.canvas.crop(self.replicas.my_part(reals))
        reals = tf.cast(reals, tf.float32) * (2 / 255) - 1
        if not self.config.data.mirror:
            return reals
        flip = self.randomness.stream("mirror", index).uniform([1, 1, 1]) < 0.5
        return tf.where(flip, tf.reverse(reals, axis=[2]), reals)

    def _augment(self, images: tf.Tensor, purpose: str, index: tf.Tensor) -> tf.Tensor:
        """Return what the discriminator is shown in place of these images."""
        config = self.config.training.augmentation
        if config.mode == "none":
            return images
        p = self.state.adaptive.p if self.state.adaptive else config.p
        stream = self.randomness.stream(f"augmentation/{purpose}", index)
        return augment(images, stream, config, p)


def _sum_of_games(losses: tf.Tensor) -> tf.Tensor:
    """Return the mean over images of the sum over scores of losses [B, S]."""
    return tf.reduce_mean(tf.reduce_sum(losses, axis=1))


def _inner_scale(optimizer: Adam) -> tf.Tensor | None:
    """Return the loss scale of a gradient inside a loss; None: there is no loss scaling.

    It is the root: what passes back through that gradient is multiplied by the loss scale divided
    by it.
    """
    return optimizer.loss_scale and tf.sqrt(optimizer.loss_scale.value.read_value())
