"""A feature network, ready for use."""

import numpy as np
import tensorflow as tf

from dnnlib.images import to_rgb


class FeatureNetwork:
    """A network with the name and the digest of the file that its weights came from.

    Made within the scope of a mirrored strategy, it gives each of its devices a part of a batch.
    module: called with images float32 [B, H, W, 3] in 0..255, returns a dictionary of [B, D];
    its `dimensions` and `preprocessing` say what of. All images of a batch have one size.
    """

    def __init__(self, name: str, module: tf.Module, digest: str):
        self.name = name
        self.digest = digest
        self.dimensions = dict(module.dimensions)
        self.preprocessing = module.preprocessing
        self._module = module
        strategy = tf.distribute.get_strategy()
        self._mirrored = strategy if isinstance(strategy, tf.distribute.MirroredStrategy) else None
        self.devices = strategy.num_replicas_in_sync if self._mirrored else 1

        def evaluate(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return module(tf.cast(images, tf.float32))

        images = tf.TensorSpec([None, None, None, 3], tf.float32)

        @tf.function(autograph=False, input_signature=[images, images])
        def compare(first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
            ours, theirs = module(first), module(second)
            return {name: tf.reduce_sum((ours[name] - theirs[name]) ** 2, axis=1) for name in ours}

        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8)
        self._evaluate = tf.function(evaluate, autograph=False, input_signature=[pixels])
        self._evaluate_parts = tf.function(
            lambda parts: strategy.run(evaluate, [parts]), autograph=False, reduce_retracing=True
        )
        self._squared_distances = compare

    def embed(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the features of images float32 [B, H, W, 3] in 0..255, which may be derived."""
        return self._module(images)

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features of images uint8 [B, H, W, 3], or grey ones [B, H, W, 1], or
        ones with transparency [B, H, W, 4], which is seen on white."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3, 4):
            raise ValueError(f"{images.dtype} {images.shape} are no images uint8 [B, H, W, 3]")
        images = to_rgb(images)
        if self._mirrored:
            return self._features_of_parts(images)
        out = self._evaluate(tf.constant(images))
        return {name: value.numpy() for name, value in out.items()}

    def _features_of_parts(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Give the devices parts of the same size; the last image fills up."""
        count = len(images)
        size = -(-count // self.devices)
        numbers = np.minimum(np.arange(size * self.devices), count - 1)
        parts = self._mirrored.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                images[numbers][context.replica_id_in_sync_group :: self.devices]
            )
        )
        out = self._evaluate_parts(parts)
        return {name: self._join(value)[:count] for name, value in out.items()}

    def _join(self, value) -> np.ndarray:
        """Put rows in order again: device i took the images i, i + devices, i + 2 devices ..."""
        rows = [part.numpy() for part in self._mirrored.experimental_local_results(value)]
        return np.stack(rows, axis=1).reshape(-1, *rows[0].shape[1:])

    def squared_distances(self, layer: str, first: tf.Tensor, second: tf.Tensor) -> np.ndarray:
        """Return the squared distances [B] of the features of images float32 in 0..255."""
        return self._squared_distances(to_rgb(first), to_rgb(second))[layer].numpy()
