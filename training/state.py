"""All that a training run remembers: everything a resumed run needs, and nothing else."""

import numpy as np
import tensorflow as tf

from gansformer.discriminator import Discriminator
from gansformer.generator import Generator
from gansformer.variables import variables_by_name
from training.augmentation import AdaptiveProbability
from training.config import RunConfig
from training.optimizer import Adam, LossScale


class TrainState(tf.Module):
    """Networks, their optimisers, and counters."""

    def __init__(
        self,
        config: RunConfig,
        *,
        channels: int,
        label_dim: int,
        dtype: tf.DType = tf.float32,
    ):
        super().__init__()
        options = {
            "resolution": config.data.resolution,
            "channels": channels,
            "label_dim": label_dim,
            "seed": config.training.seed,
            "dtype": dtype,
            "dtype_resolutions": config.training.resolutions_in_16_bit,
        }
        self.generator = Generator(config.generator, **options)
        self.discriminator = Discriminator(config.discriminator, **options)
        self.average = Generator(config.generator, **options)  # the same initial values
        scale = LossScale if dtype == tf.float16 else lambda: None
        self.generator_optimizer = _make_optimizer(config, self.generator, scale(), generator=True)
        self.discriminator_optimizer = _make_optimizer(
            config, self.discriminator, scale(), generator=False
        )
        self.path_length_mean = tf.Variable(0.0, trainable=False, name="path_length_mean")
        self.images_shown = tf.Variable(0, trainable=False, dtype=tf.int64, name="images_shown")
        self.adaptive = None  # the strength of augmentation, where it is adapted
        augmentation = config.training.augmentation
        if augmentation.mode == "ada":
            self.adaptive = AdaptiveProbability(augmentation, config.training.batch_size)

    def networks(self) -> dict[str, tf.Module]:
        """Return the networks under the names they have in snapshots."""
        return {"G": self.generator, "D": self.discriminator, "Gs": self.average}

    def by_name(self) -> dict[str, tf.Variable]:
        """Return every variable of the state under a name of its own."""
        modules = {
            **self.networks(),
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }
        named = {
            f"{prefix}/{name}": variable
            for prefix, module in modules.items()
            for name, variable in _own_variables(module).items()
        }
        scalars = [self.path_length_mean, self.images_shown]
        if self.adaptive:
            scalars += [self.adaptive.p, self.adaptive.sign]
        for variable in scalars:
            named[variable.name.removesuffix(":0")] = variable
        return named

    def values(self) -> dict[str, np.ndarray]:
        """Return a copy of the whole state."""
        return {name: variable.numpy() for name, variable in self.by_name().items()}


def _own_variables(module: tf.Module) -> dict[str, tf.Variable]:
    """Return a module's variables, for an optimiser without those that it trains."""
    if not isinstance(module, Adam):
        return variables_by_name(module)
    # Not the accumulators: between minibatches they are zero, and their number is the machine's.
    own = [module.step, *module.m, *module.v]
    if module.loss_scale:
        own += module.loss_scale.variables
    return {variable.name.removesuffix(":0"): variable for variable in own}


def _make_optimizer(
    config: RunConfig, network: tf.Module, loss_scale: LossScale | None, *, generator: bool
) -> Adam:
    training = config.training
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    trained = list(network.trainable_variables)
    if generator:
        is_lazy = training.path_length_weight > 0 or training.always_correct_generator
        interval, rate = training.path_length_interval, training.generator_lr
    else:
        is_lazy = training.regularizer != "none"
        interval, rate = training.regularizer_interval, training.discriminator_lr
        sizes = [config.data.resolution >> n for n in range(training.freeze_discriminator)]
        frozen = tuple(f"{size}x{size}/" for size in sizes)
        trained = [variable for variable in trained if not variable.name.startswith(frozen)]
    return Adam(
        sorted(trained, key=lambda variable: variable.name),
        learning_rate=rate,
        beta1=training.beta1,
        beta2=training.beta2,
        epsilon=training.epsilon,
        lazy_interval=interval if is_lazy else None,
        accumulate=training.batch_size // (training.batch_per_device * replicas),
        clip=training.clip,
        loss_scale=loss_scale,
    )
