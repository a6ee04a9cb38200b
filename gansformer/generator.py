"""Generator: mapping and synthesis networks, with truncation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from dnnlib.errors import UserError
from dnnlib.images import to_pil, to_uint8
from dnnlib.ops import forbid_saving_native_ops
from dnnlib.random_streams import RandomStream
from gansformer.canvas import Canvas
from gansformer.config import GeneratorConfig
from gansformer.layers import feature_types
from gansformer.mapping import MappingNetwork
from gansformer.summary import format_summary, summarize
from gansformer.synthesis import SynthesisNetwork, count_slices
from gansformer.truncation import cached_w_statistics
from gansformer.variables import Scope

NOISE_MODES = ("random", "const", "none")


class GeneratorOutput(NamedTuple):
    """What a generator returns.

    images: float32 [B, H, W, C], about in [-1, 1]. w: [B, K, L, w_dim], after truncation.
    attention: None, or for each attention layer [B, A, h, w, k] at its own grid size.
    """

    images: tf.Tensor
    w: tf.Tensor
    attention: list[tf.Tensor] | None

    @property
    def pixels(self) -> np.ndarray:
        """The images as uint8 [B, H, W, C]."""
        return to_uint8(self.images)

    def pil(self) -> list[Image.Image]:
        """Return the images as Pillow's, which notebooks show."""
        return [to_pil(image) for image in self.pixels]


class Generator(tf.Module):
    """From latents z to images.

    An image is a function of (weights, z, label, psi, noise mode, seed) and of nothing else.
    truncation: what psi pulls w towards: "component": the average of each component; "official":
    w_avg, one for all. Snapshots of ours are loaded with the first, official files with the second.
    component_averages: [K, w_dim], or None: computed when they are needed first.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        *,
        resolution: int,
        channels: int = 3,
        label_dim: int = 0,
        seed: int = 0,
        dtype: tf.DType = tf.float32,
        dtype_resolutions: int | None = None,
    ):
        """Make all variables; `seed` determines their initial values.

        dtype: type of the feature maps of the `dtype_resolutions` highest resolutions (None: of
        all); those of the others, variables, latents and images are float32.
        """
        super().__init__()
        self.config, self.channels, self.label_dim = config, channels, label_dim
        self.canvas = Canvas(resolution, config.crop_ratio)
        self.truncation = "official"
        self.component_averages: np.ndarray | None = None
        scope = Scope(seed)
        # The official networks have one embedding less without a global latent; it is not used.
        embeddings = config.components - (not config.has_attention)
        embedding = (scope / "ltnt_emb").uniform("emb", [embeddings, config.component_dim])
        self.component_embedding = embedding
        self.w_avg = scope.full("dlatent_avg", [config.component_dim], trainable=False)
        self.mapping_network = MappingNetwork(
            scope / "G_mapping",
            config,
            label_dim=label_dim,
            layers=self.layers,
            component_embedding=embedding,
        )
        self.synthesis_network = SynthesisNetwork(
            scope / "G_synthesis",
            config,
            self.canvas,
            channels=channels,
            component_embedding=embedding,
            dtypes=feature_types(self.canvas, dtype, dtype_resolutions),
        )

    @property
    def resolution(self) -> int:
        """Width of the images."""
        return self.canvas.resolution

    @property
    def layers(self) -> int:
        """L, the number of slices of w."""
        return count_slices(self.config, self.canvas)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return (*self.canvas.shape(self.resolution), self.channels)

    def __call__(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        psi: float | Sequence[float] | tf.Tensor = 1.0,
        psi_cutoff: int | None = None,
        noise: str = "random",
        seed: int | tf.Tensor | None = None,
        return_attention: bool = False,
    ) -> GeneratorOutput:
        """Make images from z [B, K, z_dim] ([B, z_dim] where K = 1).

        psi: w is moved towards its average (see the class), average + psi (w - average), in the
          layers before psi_cutoff (None: in all). One number, or one for each layer [L].
        noise: "random" (the same again for the same seed), "const" (the stored maps) or "none".
        seed: an integer, or one for each image [B].
        Raises ValueError if z, labels or noise do not fit this network.
        """
        w = self.mapping(z, labels)
        return self.synthesis(
            self.truncate(w, psi=psi, cutoff=psi_cutoff),
            noise=noise,
            seed=seed,
            return_attention=return_attention,
        )

    def mapping(self, z: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """Return w [B, K, L, w_dim] for z [B, K, z_dim], without truncation."""
        z = self._check_z(z)
        return self.mapping_network(z, self._check_labels(labels, z))

    def synthesis(
        self,
        w: tf.Tensor,
        *,
        noise: str | tf.Tensor = "random",
        seed: int | tf.Tensor | None = None,
        return_attention: bool = False,
    ) -> GeneratorOutput:
        """Make images from w [B, K, L, w_dim]; options as in `__call__`.

        noise: also the numbers themselves, [B, M], M = synthesis_network.noise_size.
        """
        w = tf.convert_to_tensor(w, tf.float32)
        expected = [None, self.config.latents, self.layers, self.config.component_dim]
        if not w.shape.is_compatible_with(expected):
            raise ValueError(f"w has shape {w.shape}; this generator needs {expected}")
        forbid_saving_native_ops()
        maps = self._noise_maps(noise, seed, tf.shape(w)[0])
        images, attention = self.synthesis_network(w, noise=maps)
        return GeneratorOutput(images, w, list(attention) if return_attention else None)

    def truncate(
        self,
        w: tf.Tensor,
        *,
        psi: float | Sequence[float] | tf.Tensor,
        cutoff: int | None = None,
        center: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return center + psi (w - center) in layers before `cutoff`, w in the others.

        psi: a number, or [L]. center: [K or 1, 1, w_dim]; None: `truncation_center()`.
        """
        if isinstance(psi, (int, float)) and psi == 1:
            return w
        center = self.truncation_center() if center is None else center
        psi = tf.convert_to_tensor(psi, tf.float32)
        if psi.shape.rank:
            psi = tf.reshape(psi, [self.layers, 1])
        truncated = center + psi * (w - center)
        cutoff = self.layers if cutoff is None else cutoff
        return tf.concat([truncated[:, :, :cutoff], w[:, :, cutoff:]], axis=2)

    def truncation_center(self) -> tf.Tensor:
        """Return what w is pulled towards, [K, 1, w_dim] or [1, 1, w_dim].

        Raises UserError if the components' averages are not known and cannot be computed.
        """
        if self.truncation == "official":
            return self.w_avg[None, None]
        if self.component_averages is None:
            if self.label_dim:
                raise UserError(
                    "this model is conditional and was saved without its components' averages; "
                    "use the official truncation (--truncation official)"
                )
            with tf.init_scope():
                self.component_averages = cached_w_statistics(self)[0]
        return tf.constant(self.component_averages)[:, None]

    def summary(self) -> None:
        """Print a table: layer, trainable parameters, output shape."""
        print(format_summary(summarize(self, self.evaluate_once)))

    def evaluate_once(self, batch: int = 2) -> tf.Tensor:
        """Return images of zero latents; for tracing what the network does."""
        z = tf.zeros([batch, self.config.latents, self.config.z_dim])
        labels = tf.zeros([batch, self.label_dim]) if self.label_dim else None
        return self(z, labels, noise="const").images

    def _trackable_children(self, save_type: str = "checkpoint", **options) -> dict:
        """Return what TensorFlow saves of this object; in a SavedModel, also portable functions.

        They are "generate", "mapping" and "synthesis" of gansformer.portable, so that what
        `tf.saved_model.save` writes can be loaded anywhere.
        """
        children = super()._trackable_children(save_type, **options)
        if save_type != "savedmodel":
            return children
        if "_portable" not in self.__dict__:
            from gansformer.portable import portable_functions

            self.__dict__["_portable"] = portable_functions(self)
            for function in self.__dict__["_portable"].values():
                function.get_concrete_function()
        return {**children, **self.__dict__["_portable"]}

    def _noise_maps(self, noise: str | tf.Tensor, seed, batch) -> list[tf.Tensor] | None:
        if not isinstance(noise, str):
            return self.synthesis_network.split_noise(tf.convert_to_tensor(noise, tf.float32))
        if noise not in NOISE_MODES:
            raise ValueError(f"noise mode {noise!r} is not one of {', '.join(NOISE_MODES)}")
        if noise == "none" or not self.config.noise:
            return None
        if noise == "const":
            return self.synthesis_network.stored_noise(batch)
        if seed is None:  # the caller wants noise that nobody can repeat
            seed = tf.random.uniform([batch], maxval=tf.int64.max, dtype=tf.int64)
        seeds = tf.broadcast_to(tf.cast(seed, tf.int64), [batch])
        return self.synthesis_network.random_noise(RandomStream("sample", seeds))

    def _check_z(self, z: tf.Tensor) -> tf.Tensor:
        z = tf.convert_to_tensor(z, tf.float32)
        if z.shape.rank == 2 and self.config.latents == 1:
            z = z[:, None]
        expected = [None, self.config.latents, self.config.z_dim]
        if z.shape.rank and z.shape[0] == 0:
            raise ValueError("the batch is empty: give at least one z")
        if not z.shape.is_compatible_with(expected):
            raise ValueError(f"z has shape {z.shape}; this generator needs {expected}")
        return z

    def _check_labels(self, labels: tf.Tensor | None, z: tf.Tensor) -> tf.Tensor | None:
        if not self.label_dim:
            if labels is not None and tf.convert_to_tensor(labels).shape[-1] != 0:
                raise ValueError("this generator is not conditional: give it no labels")
            return None
        if labels is None:
            raise ValueError(f"this generator is conditional: give labels [B, {self.label_dim}]")
        labels = tf.convert_to_tensor(labels, tf.float32)
        if not labels.shape.is_compatible_with([z.shape[0], self.label_dim]):
            raise ValueError(
                f"labels have shape {labels.shape}; this generator needs [B, {self.label_dim}]"
            )
        return labels
