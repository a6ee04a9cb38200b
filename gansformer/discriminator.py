"""Discriminator: from images to one score each, with optional bipartite attention."""

import math

import tensorflow as tf

from dnnlib.ops import downsample2d, setup_kernel
from dnnlib.random_streams import RandomStream
from gansformer.attention import Attention
from gansformer.canvas import Canvas, channels_at, feature_types
from gansformer.config import DiscriminatorConfig
from gansformer.latent_blocks import LatentBlock
from gansformer.layers import Conv, Dense, minibatch_stddev
from gansformer.positions import GridPositions
from gansformer.summary import format_summary, summarize
from gansformer.variables import Scope


class Discriminator(tf.Module):
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
            dim=config.position_dim or config.aggregator_dim,
            init=config.position_init,
            directions=config.position_directions,
        )
        self.aggregators = self.embedding = None
        shape = [config.components, config.aggregator_dim]
        if config.attention:
            self.aggregators = scope.uniform("aggregators", shape)
            if config.component_embedding:
                self.embedding = (scope / "ltnt_emb").uniform("emb", shape)
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

    def __call__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        random: RandomStream | None = None,
    ) -> tf.Tensor:
        """Return scores float32 [B, 1] of images [B, H, W, C] in [-1, 1].

        random: given in training, for dropout. The batch must be a multiple of
        min(stddev_group, B), whose images are compared with one another.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        if not images.shape.is_compatible_with([None, *self.image_shape]):
            raise ValueError(
                f"images have shape {images.shape}; this discriminator needs {self.image_shape}"
            )
        if self.label_dim and labels is None:
            raise ValueError(
                f"this discriminator is conditional: give labels [B, {self.label_dim}]"
            )
        aggregators = None
        if self.aggregators is not None:
            aggregators = tf.tile(self.aggregators[None], [tf.shape(images)[0], 1, 1])  # [B, k, a]
        x, rgb = None, images  # colours stay float32: bfloat16 has fewer levels than a picture file
        for block in self.blocks:
            stream = random and random.fold(f"block{block.log2}")
            x, aggregators = block(
                x,
                rgb,
                aggregators,
                positions=self.positions,
                embedding=self.embedding,
                random=stream,
            )
            if self.config.architecture == "skip":
                rgb = downsample2d(rgb, self.kernel)
        return self.head(tf.cast(x, self.dtypes[2]), rgb, aggregators, labels)


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
        options = {"activation": config.activation}
        self.from_rgb = None
        if log2 == canvas.log2 or config.architecture == "skip":
            self.from_rgb = Conv(scope / "FromRGB", channels, here, 1, **options)
        self.attention = None
        attends = config.attention and config.start_res <= log2 < config.end_res
        if attends or config.image_to_image == log2:
            self.attention = _BlockAttention(
                scope, config, log2, here, position_dim, with_aggregators=attends
            )
        down = {"resample": "down", "kernel": config.resample_kernel}
        self.conv0 = Conv(scope / "Conv0", here, here, 3, **options)
        is_residual = config.architecture == "resnet"
        gain = math.sqrt(0.5) if is_residual else 1.0
        self.conv1 = Conv(scope / "Conv1_down", here, below, 3, gain=gain, **down, **options)
        self.skip = Conv(scope / "Skip", here, below, 1, gain=gain, **down) if is_residual else None

    def __call__(self, x, rgb, aggregators, *, positions, embedding, random):
        if self.from_rgb is not None:
            added = tf.cast(self.from_rgb(rgb), self.dtype)
            x = added if x is None else tf.cast(x, self.dtype) + added
        x = tf.cast(x, self.dtype)
        skip = None if self.skip is None else self.skip(x)  # from before the attention
        if self.attention is not None:
            x, aggregators = self.attention(
                x, aggregators, positions=positions(self.log2), embedding=embedding, random=random
            )
        x = self.conv1(self.conv0(x))
        return (x if skip is None else x + skip), aggregators


class _BlockAttention(tf.Module):
    """Attention in one block: aggregators collect from the image, and what else is configured."""

    def __init__(
        self, scope: Scope, config, log2: int, channels: int, position_dim: int, *, with_aggregators
    ):
        super().__init__()
        dim = config.aggregator_dim
        embedding_dim = dim if config.component_embedding else None
        shared = {"width": dim, "heads": config.heads, "dropout": config.attention_dropout}
        image = (channels, position_dim, config.image_gate)
        latent = (dim, embedding_dim, config.latent_gate)
        self.collect = self.spread = self.latent_block = self.image_to_image = None
        if with_aggregators:
            self.collect = Attention(scope / "AttLayer_n2l", **_ends(latent, image), **shared)
            if config.latent_to_image:
                options = {**shared, "width": channels}
                self.spread = Attention(scope / "AttLayer_l2n", **_ends(image, latent), **options)
            if config.latent_to_latent:
                attention = Attention(scope / "AttLayer_l2l", **_ends(latent, latent), **shared)
                names = ("Densel2l_0", "Densel2l_1")
                self.latent_block = LatentBlock(scope, dim, dense_names=names, attention=attention)
        if config.image_to_image == log2:
            self.image_to_image = Attention(scope / "AttLayer_n2n", **_ends(image, image), **shared)

    def __call__(self, x, aggregators, *, positions, embedding, random):
        """x: [B, H, W, C], aggregators: [B, k, a], positions: [H W, p]."""
        _, rows, columns, channels = x.shape
        x = tf.reshape(x, [-1, rows * columns, channels])
        on_image, on_latents = {"from_positions": positions}, {"from_positions": embedding}
        to_image, to_latents = {"to_positions": positions}, {"to_positions": embedding}
        fold = lambda name: random and random.fold(name)  # noqa: E731
        if self.collect is not None:
            aggregators = self.collect(
                aggregators, x, **on_latents, **to_image, random=fold("collect")
            ).features
        if self.spread is not None:
            x = self.spread(
                x, aggregators, **on_image, **to_latents, random=fold("spread")
            ).features
        if self.latent_block is not None:
            aggregators = self.latent_block(
                aggregators, aggregators, **on_latents, **to_latents, random=fold("latents")
            )
        if self.image_to_image is not None:
            x = self.image_to_image(x, x, **on_image, **to_image, random=fold("image")).features
        return tf.reshape(x, [-1, rows, columns, channels]), aggregators


class _Head(tf.Module):
    """From the 4x4 grid and the aggregators to the score."""

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
        self.conv = Conv(scope / "4x4" / "Conv", wide + added, wide, 3, **options)
        positions = math.prod(canvas.shape(4))
        self.dense = Dense(scope / "4x4" / "Dense0", positions * wide, narrow, **options)
        self.score_dense = self.score_output = None
        features = narrow
        if config.attention:
            dim, components = config.aggregator_dim, scope / "ComponentScores"
            self.score_dense = Dense(components / "Dense", dim + added, dim, **options)
            self.score_output = Dense(components / "Output", dim, 1)
            features += config.components
        self.output = Dense(scope / "Output", features, max(label_dim, 1))

    def __call__(self, x, rgb, aggregators, labels) -> tf.Tensor:
        if self.from_rgb is not None:
            x += tf.cast(self.from_rgb(rgb), x.dtype)
        x = self.conv(self._append_stddev(x))
        x = tf.transpose(tf.cast(x, tf.float32), [0, 3, 1, 2])  # the official order of features
        x = self.dense(tf.reshape(x, [-1, self.dense.weight.shape[0]]))
        if aggregators is not None:
            scores = self.score_output(self.score_dense(self._append_stddev(aggregators)))
            x = tf.concat([x, scores[..., 0]], axis=1)  # [B, features + k]
        scores = self.output(x)
        if self.label_dim:
            scores = tf.reduce_sum(scores * labels, axis=1, keepdims=True)
        return scores

    def _append_stddev(self, x: tf.Tensor) -> tf.Tensor:
        group, channels = self.config.stddev_group, self.config.stddev_channels
        return minibatch_stddev(x, group_size=group, channels=channels) if group > 1 else x


def _ends(source: tuple, target: tuple) -> dict:
    """Return the arguments of an attention layer; each end is (width, position width, gate)."""
    return {
        "from_dim": source[0],
        "to_dim": target[0],
        "from_position_dim": source[1],
        "to_position_dim": target[1],
        "from_gate": source[2],
        "to_gate": target[2],
    }
