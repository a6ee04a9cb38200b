"""All that a training run remembers: everything a resumed run needs, and nothing else."""

import numpy as np
import tensorflow as tf

from dnnlib.devices import on_host
from gansformer.generator import Generator
from gansformer.projected_discriminator import ProjectedDiscriminator, make_discriminator
from gansformer.variables import variables_by_name
from training.augmentation.adaptation import AdaptiveProbability
from training.config import RunConfig, TrainingConfig
from training.optimizer import Adam, LossScale


class Counter:
    """A whole number that only the host counts, read and written like a variable.

    Reading a variable waits until the device has computed all that came before it.
    """

    dtype, shape = tf.int64, tf.TensorShape([])

    def __init__(self, name: str):
        self.name, self._value = name, 0

    def numpy(self) -> np.int64:
        """Return its value."""
        return np.int64(self._value)

    def read_value(self) -> tf.Tensor:
        """Return its value."""
        with on_host():
            return tf.constant(self._value, tf.int64)

    def assign(self, value: int | np.ndarray | tf.Tensor) -> None:
        """Replace its value."""
        self._value = int(value)

    def assign_add(self, amount: int) -> None:
        """Add to its value."""
        self._value += int(amount)

    def __tf_tensor__(self, dtype: tf.DType | None = None, name: str | None = None) -> tf.Tensor:
        return tf.convert_to_tensor(self.read_value(), dtype, name=name)


class TrainState(tf.Module):
    """Networks, their optimisers, and counters.

    strategy: what the run is computed with; None: the current one. dtype: of the feature maps.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        channels: int,
        label_dim: int,
        dtype: tf.DType = tf.float32,
        strategy: tf.distribute.Strategy | None = None,
    ):
        super().__init__()
        self.strategy = strategy or tf.distribute.get_strategy()
        options = {
            "resolution": config.data.resolution,
            "channels": channels,
            "label_dim": label_dim,
            "seed": config.training.seed,
            "dtype": dtype,
            "dtype_resolutions": config.training.resolutions_in_16_bit,
        }
        self.generator = Generator(config.generator, **options)
        self.discriminator = make_discriminator(config.discriminator, **options)
        if isinstance(self.discriminator, ProjectedDiscriminator):
            self.discriminator.load_features()  # in the scope of the strategy
        self.average = Generator(config.generator, **options)  # the same initial values
        together = config.training.batch_per_device * self.strategy.num_replicas_in_sync
        common = {
            "beta1": config.training.beta1,
            "beta2": config.training.beta2,
            "epsilon": config.training.epsilon,
            "accumulate": config.training.batch_size // together,
            "clip": config.training.clip,
        }
        scale = LossScale if dtype == tf.float16 else lambda: None
        self.generator_optimizer = Adam(
            _trained_variables(self.generator),
            learning_rate=config.training.generator_lr,
            lazy_interval=_generator_interval(config.training),
            loss_scale=scale(),
            **common,
        )
        self.discriminator_optimizer = Adam(
            _trained_variables(self.discriminator, frozen=_frozen_blocks(config)),
            learning_rate=config.training.discriminator_lr,
            lazy_interval=_discriminator_interval(config.training),
            loss_scale=scale(),
            **common,
        )
        self.path_length_mean = tf.Variable(0.0, trainable=False, name="path_length_mean")
        self.images_shown = Counter("images_shown")
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


def _trained_variables(network: tf.Module, frozen: tuple[str, ...] = ()) -> list[tf.Variable]:
    """Return what an optimiser trains, by name: all but what begins with one of `frozen`."""
    trained = [v for v in network.trainable_variables if not v.name.startswith(frozen)]
    return sorted(trained, key=lambda variable: variable.name)


def _generator_interval(training: TrainingConfig) -> int | None:
    is_lazy = training.path_length_weight > 0 or training.always_correct_generator
    return training.path_length_interval if is_lazy else None


def _discriminator_interval(training: TrainingConfig) -> int | None:
    return training.regularizer_interval if training.regularizer != "none" else None


def _frozen_blocks(config: RunConfig) -> tuple[str, ...]:
    """Return how the names of the discriminator's variables begin that are not trained."""
    count = config.training.freeze_discriminator
    return tuple(
        f"{config.data.resolution >> n}x{config.data.resolution >> n}/" for n in range(count)
    )
