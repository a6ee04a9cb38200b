"""A feature network, ready for use."""

import numpy as np
import tensorflow as tf

from dnnlib.images import to_rgb


class FeatureNetwork:
    """A network with the name and the digest of the file that its weights came from.

    module: called with pictures float32 [B, H, W, 3] in 0..255, returns a dictionary of [B, D];
    its `dimensions` and `preprocessing` say what of. All pictures of a batch have one size.
    """

    def __init__(self, name: str, module: tf.Module, digest: str):
        self.name = name
        self.digest = digest
        self.dimensions = dict(module.dimensions)
        self.preprocessing = module.preprocessing
        self._module = module

        @tf.function(
            autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)]
        )
        def evaluate(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return module(tf.cast(images, tf.float32))

        pictures = tf.TensorSpec([None, None, None, 3], tf.float32)

        @tf.function(autograph=False, input_signature=[pictures, pictures])
        def compare(first: tf.Tensor, second: tf.Tensor) -> dict[str, tf.Tensor]:
            ours, theirs = module(first), module(second)
            return {name: tf.reduce_sum((ours[name] - theirs[name]) ** 2, axis=1) for name in ours}

        self._evaluate, self._squared_distances = evaluate, compare

    def features(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features of pictures uint8 [B, H, W, 3], or grey ones [B, H, W, 1]."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(f"{images.dtype} {images.shape} are no pictures uint8 [B, H, W, 3]")
        out = self._evaluate(tf.constant(to_rgb(images)))
        return {name: value.numpy() for name, value in out.items()}

    def squared_distances(self, layer: str, first: tf.Tensor, second: tf.Tensor) -> np.ndarray:
        """Return the squared distances [B] of the features of pictures float32 in 0..255."""
        return self._squared_distances(to_rgb(first), to_rgb(second))[layer].numpy()
