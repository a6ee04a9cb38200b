"""Any Keras model or SavedModel as a feature network."""

from pathlib import Path

import keras
import tensorflow as tf

from dnnlib.ops import resize_antialiased


class CustomNetwork(tf.Module):
    """Features of a model that takes images [B, H, W, 3] in 0..255 and returns one tensor.

    Images are resized to the model's height and width where it has fixed ones; maps [B, h, w, D]
    are averaged over places. Raises ValueError if the model is of another kind.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.model, shape, self._dtype = _load(path)
        if len(shape) != 4 or shape[3] != 3:
            raise ValueError(f"takes {shape}, not images [B, H, W, 3]")
        self._size = None if None in shape[1:3] else list(shape[1:3])
        size = "x".join(map(str, self._size)) if self._size else ""
        self.preprocessing = f"antialiased bilinear to {size}" if size else "none"
        self.dimensions = {
            "features": self(tf.zeros([2, *(self._size or [64, 64]), 3]))["features"].shape[1]
        }

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """images: [B, H, W, 3], 0..255."""
        if self._size:
            images = resize_antialiased(images, self._size)
        out = self.model(tf.cast(images, self._dtype))
        if isinstance(out, dict):
            if len(out) > 1:
                raise ValueError(f"has several outputs ({', '.join(out)}); save it with one")
            (out,) = out.values()
        if not tf.is_tensor(out) or out.shape.rank not in (2, 4):
            raise ValueError("does not return one tensor [B, D] or [B, h, w, D]")
        out = tf.cast(out, tf.float32)
        return {"features": tf.reduce_mean(out, [1, 2]) if out.shape.rank == 4 else out}


def _load(path: Path):
    """Return (function, shape of its input, type of its input)."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError("a directory without saved_model.pb")
        loaded = tf.saved_model.load(str(path))
        if "serving_default" not in loaded.signatures:
            raise ValueError("has no signature serving_default")
        signature = loaded.signatures["serving_default"]
        inputs = signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(f"takes {len(inputs)} inputs instead of images")
        ((name, spec),) = inputs.items()
        call = lambda x: signature(**{name: x})  # noqa: E731
        call.loaded = loaded  # which goes when nothing refers to it any more
        return call, tuple(spec.shape), spec.dtype
    model = keras.saving.load_model(path, compile=False)
    return lambda x: model(x, training=False), tuple(model.input_shape), tf.float32
