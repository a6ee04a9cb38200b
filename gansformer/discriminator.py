"""Discriminator: from images to one score each, with optional bipartite attention."""

import math

import tensorflow as tf

from dnnlib.ops import downsample2d, setup_kernel
from dnnlib.random_streams import RandomStream
from gansformer.bipartite import Components, discriminator_attention
from gansformer.canvas import Canvas, channels_at
from gansformer.config import DiscriminatorConfig, LabelMappingConfig
from gansformer.layers import Conv, Dense, feature_types, minibatch_stddev, normalize_rms
from gansformer.positions import GridPositions
from gansformer.summary import format_summary, summarize
from gansformer.variables import Scope


class BaseDiscriminator(tf.Module):
    """What discriminators of all kinds have: the images they take, checks of these, a summary."""

    canvas: Canvas
    channels: int
    label_dim: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return (*self.canvas.shape(self.canvas.resolution), self.channels)

    def summary(self) -> None:
        """Print a table: layer, trainable parameters, output shape."""
        print(format_summary(summarize(self, self.evaluate_once)))

    def evaluate_once(self, batch: int = 4) -> tf.Tensor:
        """Return scores of grey images; for tracing what the network does."""
        labels = tf.zeros([batch, self.label_dim]) if self.label_dim else None
        return self(tf.zeros([batch, *self.image_shape]), labels)

    def check_images(self, images: tf.Tensor) -> tf.Tensor:
        """Return images as float32 [B, H, W, C]. Raises ValueError if they are not such images."""
        images = tf.convert_to_tensor(images)
        if images.dtype.is_integer:
            raise ValueError(
                f"images are {images.dtype.name}; this discriminator needs floats in [-1, 1], such "
                "as tf.cast(images, tf.float32) / 127.5 - 1"
            )
        images = tf.cast(images, tf.float32)
        if images.shape.rank and images.shape[0] == 0:
            raise ValueError("the batch is empty: give at least one image")
        if not images.shape.is_compatible_with([None, *self.image_shape]):
            raise ValueError(
                f"images have shape {images.shape}; this discriminator needs {self.image_shape}"
            )
        return images

    def check_labels(self, labels: tf.Tensor | None) -> None:
        """Raise ValueError if there are labels where none are wanted, or none where they are."""
        if self.label_dim and labels is None:
            raise ValueError(
                f"this discriminator is conditional: give labels [B, {self.label_dim}]"
            )
        if not self.label_dim and labels is not None and tf.convert_to_tensor(labels).shape[-1]:
            raise ValueError("this discriminator is not conditional: give it no labels")


class Discriminator(BaseDiscriminator):
    """Score images: high for real ones."""

    def __init__(
        self,
        config: DiscriminatorConfig,
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
        all); those of the others, variables and scores are float32.
        """
        super().__init__()
        self.config, self.channels, self.label_dim = config, channels, label_dim
        self.canvas = Canvas(resolution, config.crop_ratio)
        self.dtypes = feature_types(self.canvas, dtype, dtype_resolutions)
        scope = Scope(seed)
        self.positions = GridPositions(
            scope,
            self.canvas,
            kind=config.position_type,
            dim=config.position_dim or config.component_dim,
            init=config.position_init,
            directions=config.position_directions,
        )
        self.components = self.component_embedding = None
        shape = [config.components, config.component_dim]
        if config.attention:
            self.components = scope.uniform("aggregators", shape)
            if config.component_embedding:
                self.component_embedding = (scope / "ltnt_emb").uniform("emb", shape)
        self.kernel = setup_kernel(config.resample_kernel)
        self.blocks = [
            _Block(
                scope,
                config,
                self.canvas,
                log2,
                channels,
                self.positions.width,
                self.dtypes[log2],
            )
            for log2 in range(self.canvas.log2, 2, -1)
        ]
        self.head = _Head(scope, config, self.canvas, channels, label_dim)

    def __call__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        batches: int = 1,
        random: RandomStream | None = None,
    ) -> tf.Tensor:
        """Return scores float32 [B, 1] of images [B, H, W, C] in [-1, 1].

        The batch must be a multiple of min(stddev_group, B), whose images are compared with one
        another. batches: the images are so many batches of this kind, one after the other; their
        scores are those that each would have alone. random: given in training, for dropout.
        """
        images = self.check_images(images)
        self.check_labels(labels)
        components = Components(None, self.component_embedding)
        if self.components is not None:
            values = tf.tile(self.components[None], [tf.shape(images)[0], 1, 1])  # [B, k, D]
            components = components._replace(values=values)
        x, rgb = None, images  # colours stay float32: bfloat16 has fewer levels than an image file
        for block in self.blocks:
            stream = random and random.fold(f"block{block.log2}")
            x, components = block(x, rgb, components, positions=self.positions, random=stream)
            if self.config.architecture == "skip":
                rgb = downsample2d(rgb, self.kernel)
        return self.head(tf.cast(x, self.dtypes[2]), rgb, components.values, labels, batches)


class _Block(tf.Module):
    """The layers of one resolution above 4x4."""

    def __init__(
        self, scope, config, canvas: Canvas, log2: int, channels: int, position_dim: int, dtype
    ):
        super().__init__()
        self.log2, self.dtype = log2, dtype
        scope = scope / f"{2**log2}x{2**log2}"
        here, below = (
            channels_at(r, base=config.channel_base, maximum=config.channel_max)
            for r in (log2, log2 - 1)
        )
        options = {"activation": config.activation, "clamp": config.clamp}
        self.from_rgb = None
        if log2 == canvas.log2 or config.architecture == "skip":
            self.from_rgb = Conv(scope / "FromRGB", channels, here, 1, **options)
        self.attention = discriminator_attention(
            scope, config, log2, here, position_dim=position_dim
        )
        down = {"resample": "down", "kernel": config.resample_kernel}
        self.conv0 = Conv(scope / "Conv0", here, here, 3, **options)
        is_residual = config.architecture == "resnet"
        gain = math.sqrt(0.5) if is_residual else 1.0
        self.conv1 = Conv(scope / "Conv1_down", here, below, 3, gain=gain, **down, **options)
        self.skip = Conv(scope / "Skip", here, below, 1, gain=gain, **down) if is_residual else None

    def __call__(self, x, rgb, components: Components, *, positions, random):
        if self.from_rgb is not None:
            added = tf.cast(self.from_rgb(rgb), self.dtype)
            x = added if x is None else tf.cast(x, self.dtype) + added
        x = tf.cast(x, self.dtype)
        skip = None if self.skip is None else self.skip(x)  # from before the attention
        if self.attention is not None:
            y, grid = components.values, positions(self.log2)
            x, components = self.attention(x, y, components, positions=grid, random=random)
        x = self.conv1(self.conv0(x))
        return (x if skip is None else x + skip), components


class _LabelMapping(tf.Module):
    """From labels to the vector whose product with the features is the score (StyleGAN2-ADA)."""

    def __init__(self, scope: Scope, config: LabelMappingConfig, label_dim: int):
        super().__init__()
        self.embedding = Dense(scope / "Embedding", label_dim, config.embedding_dim)
        widths = [config.embedding_dim, *[config.hidden_dim] * (config.layers - 1), config.dim]
        options = {"activation": config.activation, "lr_multiplier": config.lr_multiplier}
        self.layers = [
            Dense(scope / f"Dense{i}", *widths[i : i + 2], **options) for i in range(config.layers)
        ]

    def __call__(self, labels: tf.Tensor) -> tf.Tensor:
        """labels: [B, label_dim] -> [B, dim], divided by sqrt(dim)."""
        x = normalize_rms(self.embedding(tf.convert_to_tensor(labels, tf.float32)))
        for layer in self.layers:
            x = layer(x)
        return x / math.sqrt(x.shape[-1])


class _Head(tf.Module):
    """From the 4x4 grid and the components to the score."""

    def __init__(self, scope: Scope, config, canvas: Canvas, channels: int, label_dim: int):
        super().__init__()
        self.config, self.label_dim = config, label_dim
        wide, narrow = (
            channels_at(r, base=config.channel_base, maximum=config.channel_max) for r in (2, 1)
        )
        options = {"activation": config.activation}
        self.from_rgb = None
        if config.architecture == "skip":
            self.from_rgb = Conv(scope / "4x4" / "FromRGB", channels, wide, 1, **options)
        added = config.stddev_channels if config.stddev_group > 1 else 0
        self.conv = Conv(
            scope / "4x4" / "Conv", wide + added, wide, 3, clamp=config.clamp, **options
        )
        positions = math.prod(canvas.shape(4))
        narrow = config.dense_dim or narrow
        self.dense = Dense(scope / "4x4" / "Dense0", positions * wide, narrow, **options)
        self.score_dense = self.score_output = None
        features = narrow
        if config.attention:
            dim, scores = config.component_dim, scope / "ComponentScores"
            self.score_dense = Dense(scores / "Dense", dim + added, dim, **options)
            self.score_output = Dense(scores / "Output", dim, 1)
            features += config.components
        self.label_mapping, outputs = None, max(label_dim, 1)
        if label_dim and config.label_mapping is not None:
            mapping_scope, outputs = scope / "LabelMapping", config.label_mapping.dim
            self.label_mapping = _LabelMapping(mapping_scope, config.label_mapping, label_dim)
        self.output = Dense(scope / "Output", features, outputs)

    def __call__(self, x, rgb, components, labels, batches: int) -> tf.Tensor:
        if self.from_rgb is not None:
            x += tf.cast(self.from_rgb(rgb), x.dtype)
        x = self.conv(self._append_stddev(x, batches))
        x = tf.transpose(tf.cast(x, tf.float32), [0, 3, 1, 2])  # the official order of features
        x = self.dense(tf.reshape(x, [-1, self.dense.weight.shape[0]]))
        if components is not None:
            components = self._append_stddev(components, batches)
            scores = self.score_output(self.score_dense(components))
            x = tf.concat([x, scores[..., 0]], axis=1)  # [B, features + k]
        scores = self.output(x)
        if self.label_mapping is not None:
            labels = self.label_mapping(labels)
        if self.label_dim:
            scores = tf.reduce_sum(scores * labels, axis=1, keepdims=True)
        return scores

    def _append_stddev(self, x: tf.Tensor, batches: int) -> tf.Tensor:
        group, channels = self.config.stddev_group, self.config.stddev_channels
        if group <= 1:
            return x
        return minibatch_stddev(x, group_size=group, channels=channels, batches=batches)
