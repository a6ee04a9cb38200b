"""Synthesis network: from w to an image, with bipartite attention at chosen resolutions."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.ops import activation_gain, bias_act, setup_kernel, upsample2d
from dnnlib.random_streams import RandomStream
from gansformer import fused
from gansformer.bipartite import Components, generator_attention
from gansformer.canvas import Canvas, channels_at
from gansformer.config import GeneratorConfig
from gansformer.layers import Conv, Dense, ModulatedConv, limit
from gansformer.merge import Merge
from gansformer.positions import GridPositions
from gansformer.stacked import Factors
from gansformer.summary import shown
from gansformer.variables import Scope


class Inputs(NamedTuple):
    """What all layers of one evaluation share.

    components: the w of each component, [B, k, w_dim] for each layer, or None.
    factors: of the layers that are fused, by index.
    positions: log2 -> [H W, p].
    noise: a map [B or 1, H, W, 1] for each layer, or None. random: in training, for dropout.
    """

    components: list[tf.Tensor] | None
    factors: dict[int, Factors]
    positions: GridPositions
    noise: list[tf.Tensor] | None
    random: RandomStream | None


def has_extra_layer(config: GeneratorConfig, canvas: Canvas) -> bool:
    """Whether an extra 3x3 layer comes before the last colours."""
    if config.extra_layer is None:
        return config.has_attention and canvas.log2 <= config.end_res
    return config.extra_layer


def count_slices(config: GeneratorConfig, canvas: Canvas) -> int:
    """Return L, the number of slices of w: of the layers, of the last colours, and of the stem or
    of the extra layer (these two are never both counted: in TensorFlow the extra layer has none).
    """
    return 2 * canvas.log2 - 2 + (config.stem_slice or has_extra_layer(config, canvas))


def grid_positions(scope: Scope, canvas: Canvas, config: GeneratorConfig, *, sizes):
    """Return the positional encodings of a network or of one layer, of grids of 2^r for `sizes`."""
    return GridPositions(
        scope,
        canvas,
        kind=config.position_type,
        dim=config.position_dim or config.component_dim,
        init=config.position_init,
        directions=config.position_directions,
        sizes=sizes,
    )


class SynthesisLayer(tf.Module):
    """Modulated 3x3 convolution, attention, noise, bias and activation.

    index: l, the layer's number; it uses noise map l and w[:, :, l + 1], or w[:, :, l] where the
    stem has no slice. gain: multiplies the output.
    """

    def __init__(
        self,
        scope: Scope,
        config: GeneratorConfig,
        canvas: Canvas,
        *,
        index: int,
        inputs: int,
        position_dim: int,
        first_attention: bool,
        up: bool,
        gain: float = 1.0,
    ):
        super().__init__()
        self.index, self.log2 = index, (index + 5) // 2
        self.slice = index + int(config.stem_slice)
        outputs = channels_at(self.log2, base=config.channel_base, maximum=config.channel_max)
        self.activation = config.activation
        self.gain = activation_gain(config.activation) * gain
        self.clamp = None if config.clamp is None else config.clamp * gain
        self.conv = ModulatedConv(
            scope,
            inputs,
            outputs,
            3,
            w_dim=config.component_dim,
            style=config.style,
            resample="up" if up else None,
            kernel=config.resample_kernel,
        )
        self.attention = generator_attention(
            scope, config, self.log2, outputs, position_dim=position_dim, first=first_attention
        )
        self.positions = None  # those of the network
        if config.layer_positions and self.attention is not None:
            self.positions = grid_positions(scope, canvas, config, sizes=[self.log2])
        self.noise_strength = scope.full("noise_strength", []) if config.noise else None
        self.bias = scope.full("bias", [outputs])

    def __call__(
        self, x: tf.Tensor, w: list[tf.Tensor], inputs: Inputs, components: Components
    ) -> tuple[tf.Tensor, Components]:
        """x: [B, H, W, C]; w: [B, w_dim] for each layer, of the global latent."""
        noise = self._noise(inputs)
        if self.index in inputs.factors:
            factors = inputs.factors[self.index]
            x, components = fused.synthesis_layer(self, x, factors, noise, components)
            return limit(x, self.clamp), components
        x = self.conv(x, w[self.slice])  # [B, H, W, outputs]
        if self.attention is not None:
            y = components.values
            if y is None and inputs.components is not None:
                y = inputs.components[self.slice]  # [B, k, w_dim]
            random = inputs.random and inputs.random.fold(f"layer{self.index}")
            at_image = (self.positions or inputs.positions)(self.log2)
            x, components = self.attention(x, y, components, positions=at_image, random=random)
        x = x if noise is None else x + tf.cast(noise, x.dtype)
        x = bias_act(x, self.bias, activation=self.activation, gain=self.gain)
        return limit(x, self.clamp), components

    def _noise(self, inputs: Inputs) -> tf.Tensor | None:
        if inputs.noise is None or self.noise_strength is None:
            return None
        return inputs.noise[self.index] * self.noise_strength  # [B or 1, H, W, 1]


class ToRgb(tf.Module):
    """Modulated 1x1 convolution to colours; at the end of a GANformer after an extra 3x3 layer."""

    def __init__(
        self, scope: Scope, config: GeneratorConfig, inputs: int, channels: int, *, extra: bool
    ):
        super().__init__()
        self.tanh, self.clamp = config.tanh, config.clamp
        modulation = {"w_dim": config.component_dim, "style": config.style}
        self.extra = None
        if extra:
            self.extra = ModulatedConv(scope / "extraLayer", inputs, inputs, 3, **modulation)
        self.conv = ModulatedConv(scope, inputs, channels, 1, demodulate=False, **modulation)
        self.bias = scope.full("bias", [channels])

    @shown
    def __call__(self, x: tf.Tensor, style: tf.Tensor, extra_style: tf.Tensor) -> tf.Tensor:
        """x: [B, H, W, C], styles [B, w_dim] -> float32 [B, H, W, channels].

        float32: bfloat16 has fewer levels than an image file; the discriminator would see steps.
        """
        if fused.is_wanted():
            rgb = fused.to_rgb(self, x, style, extra_style)
        else:
            x = tf.cast(x, tf.float32)
            x = x if self.extra is None else self.extra(x, extra_style)
            rgb = self.conv(x, style) + self.bias
        rgb = limit(rgb, self.clamp)
        return tf.tanh(rgb) if self.tanh else rgb


class Stem(tf.Module):
    """The 4x4 grid from which synthesis starts: learned, or made from the global latent."""

    def __init__(self, scope: Scope, config: GeneratorConfig, canvas: Canvas, channels: int):
        super().__init__()
        self.channels, self.grid = channels, canvas.shape(4)
        self.activation = config.activation
        images = config.components if config.merge else 1
        self.const = self.dense = self.noise_strength = None
        if config.latent_stem:
            scope = scope / "Dense"
            size = channels * math.prod(self.grid)
            gain = math.sqrt(2) / 4
            self.dense = Dense(scope, config.component_dim, size, gain=gain, bias=False)
            self.noise_strength = scope.full("noise_strength", []) if config.noise else None
            self.bias = scope.full("bias", [channels])
        else:
            self.const = (scope / "Const").normal("const", [images, channels, *self.grid])

    def __call__(self, style: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """style: [B, w_dim] of layer 0 -> [B, h, w, C]."""
        if self.const is not None:
            const = tf.transpose(self.const, [0, 2, 3, 1])  # official layout: [images, C, h, w]
            return tf.tile(const, [tf.shape(style)[0] // const.shape[0], 1, 1, 1])
        x = tf.reshape(self.dense(style), [-1, self.channels, *self.grid])
        x = tf.transpose(x, [0, 2, 3, 1])
        if noise is not None and self.noise_strength is not None:
            x += noise * self.noise_strength
        return bias_act(x, self.bias, activation=self.activation)


class Block(tf.Module):
    """The layers of one resolution above 4x4."""

    def __init__(self, scope: Scope, config, canvas: Canvas, log2: int, layer_options: dict):
        super().__init__()
        inputs, outputs = (
            channels_at(r, base=config.channel_base, maximum=config.channel_max)
            for r in (log2 - 1, log2)
        )
        index = 2 * log2 - 5
        is_residual = config.architecture == "resnet"
        gain = math.sqrt(0.5) if is_residual else 1.0
        names = (("Conv0_up", index, inputs, 1.0), ("Conv1", index + 1, outputs, gain))
        self.layers = [
            SynthesisLayer(
                scope / name,
                config,
                canvas,
                index=i,
                inputs=width,
                up=i == index,
                gain=layer_gain,
                position_dim=layer_options["position_dim"],
                first_attention=i == layer_options["first_attention_index"],
            )
            for name, i, width, layer_gain in names
        ]
        self.skip = None
        if is_residual:
            options = {"resample": "up", "kernel": config.resample_kernel, "gain": gain}
            self.skip = Conv(scope / "Skip", inputs, outputs, 1, **options)

    def __call__(self, x, w: list[tf.Tensor], inputs: Inputs, components: Components):
        """x: [B, H, W, C]; w: [B, w_dim] for each layer, of the global latent."""
        skip = None if self.skip is None else self.skip(x)
        for layer in self.layers:
            x, components = layer(x, w, inputs, components)
        return (x if skip is None else x + skip), components


class SynthesisNetwork(tf.Module):
    """From w [B, K, L, w_dim] to images [B, H, W, channels], for each layer its own slice of w."""

    def __init__(
        self,
        scope: Scope,
        config: GeneratorConfig,
        canvas: Canvas,
        *,
        channels: int,
        component_embedding: tf.Variable,
        dtypes: dict[int, tf.DType],
    ):
        super().__init__()
        self.config, self.canvas, self.dtypes = config, canvas, dtypes
        self.component_embedding = component_embedding
        self.kernel = setup_kernel(config.resample_kernel)
        last = canvas.log2
        sizes = [] if config.layer_positions else range(canvas.log2 + 1)
        self.positions = grid_positions(scope, canvas, config, sizes=sizes)
        self.noise = self._make_noise(scope)
        width = channels_at(2, base=config.channel_base, maximum=config.channel_max)
        start = max(config.start_res, 2)
        options = {
            "position_dim": self.positions.width,
            "first_attention_index": 0 if start == 2 else 2 * start - 5,
        }
        self.stem = Stem(scope / "4x4", config, canvas, width)
        self.first = SynthesisLayer(
            scope / "4x4" / "Conv",
            config,
            canvas,
            index=0,
            inputs=width,
            up=False,
            position_dim=options["position_dim"],
            first_attention=options["first_attention_index"] == 0,
        )
        names = {r: f"{2**r}x{2**r}" for r in range(2, last + 1)}
        self.blocks = [
            Block(scope / names[r], config, canvas, r, options) for r in range(3, last + 1)
        ]
        self.to_rgb = {}
        for r in range(2, last + 1) if config.architecture == "skip" else [last]:
            width = channels_at(r, base=config.channel_base, maximum=config.channel_max)
            extra = r == last and has_extra_layer(config, canvas)
            rgb_scope = scope / names[r] / "ToRGB"
            self.to_rgb[str(r)] = ToRgb(rgb_scope, config, width, channels, extra=extra)
        self.merge = self._make_merge(scope)

    @property
    def layers(self) -> list[SynthesisLayer]:
        """All layers, by their index."""
        return [self.first, *(layer for block in self.blocks for layer in block.layers)]

    def _make_noise(self, scope: Scope) -> list[tf.Variable]:
        """Make the stored noise maps; the last one belongs to no layer, as in the official code."""
        maps = []
        for index in range(2 * self.canvas.log2 - 2):
            shape = [self._images(index), 1, *self.canvas.shape(2 ** ((index + 5) // 2))]
            maps.append(scope.normal(f"noise{index}", shape, trainable=False))
        return maps

    def _images(self, index: int) -> int:
        """Return how many images of a sample have noise maps of their own at layer `index`."""
        merge = self.config.merge
        return self.config.components if merge and (index + 5) // 2 < merge.layer else 1

    def _make_merge(self, scope: Scope) -> Merge | None:
        merge = self.config.merge
        if merge is None:
            return None
        if not 3 <= merge.layer < self.canvas.log2:
            raise ValueError(
                f"merge.layer {merge.layer} does not lie between 3 and {self.canvas.log2 - 1}, "
                f"as resolution {self.canvas.resolution} needs"
            )
        width = channels_at(
            merge.layer, base=self.config.channel_base, maximum=self.config.channel_max
        )
        size = 2**merge.layer
        name = f"merge{merge.layer}"
        return Merge(scope / f"{size}x{size}" / name, width, self.config.components, merge)

    def __call__(
        self,
        w: tf.Tensor,
        *,
        noise: list[tf.Tensor] | None,
        mask: tf.Tensor | None = None,
        random: RandomStream | None = None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Return images float32 [B, H, W, channels] and attention maps [B, A, h, w, k].

        noise: one map for each layer, as `stored_noise` and `random_noise` give them, or None.
        """
        embedding = self.component_embedding if self.config.component_embedding else None
        components = Components(None, embedding, mask)
        by_layer = tf.transpose(w, [2, 0, 1, 3])  # [L, B, K, w_dim]
        y = by_layer[:, :, :-1] if self.config.has_attention else None
        styles = by_layer[:, :, -1]  # the global latent
        if self.merge is not None:
            styles = tf.reshape(by_layer, [w.shape[2], -1, w.shape[3]])  # [L, B k, w_dim]
        training = random is not None
        factors = fused.layer_factors(self, styles, y, components, training=training)
        # Unstacked, for the gradient of a single slice fills a tensor of w's whole size.
        values = None if y is None else tf.unstack(y)
        inputs = Inputs(values, factors, self.positions, noise, random)
        styles = tf.unstack(styles)
        x = tf.cast(self.stem(styles[0], noise and noise[0]), self.dtypes[2])
        x, components = self.first(x, styles, inputs, components)
        rgb = self._add_rgb(None, x, 2, styles)
        for log2, block in enumerate(self.blocks, start=3):
            x = tf.cast(x, self.dtypes[log2])
            x, components = block(x, styles, inputs, components)
            if self.merge is not None and log2 == self.config.merge.layer:
                x, merged = self.merge(x, w)
                merged = tf.transpose(merged, [1, 0, 2])  # [L, B, w_dim]
                factors = fused.layer_factors(self, merged, y, components, training=training)
                inputs, styles = inputs._replace(factors=factors), tf.unstack(merged)
            rgb = self._add_rgb(rgb, x, log2, styles)
        return rgb, components.maps

    def _add_rgb(self, rgb: tf.Tensor | None, x, log2: int, styles) -> tf.Tensor | None:
        if str(log2) not in self.to_rgb:
            return rgb
        is_last = log2 == self.canvas.log2
        style = styles[-1] if is_last else styles[2 * log2 - 3 + int(self.config.stem_slice)]
        added = self.to_rgb[str(log2)](x, style, styles[-2])
        return added if rgb is None else upsample2d(rgb, self.kernel) + added

    def stored_noise(self, batch: tf.Tensor | int) -> list[tf.Tensor]:
        """Return the noise maps that belong to the network, [1 or B k, h, w, 1] for each layer."""
        maps = []
        for variable in self.noise[:-1]:
            noise = tf.transpose(variable, [0, 2, 3, 1])  # official layout: [images, 1, h, w]
            maps.append(noise if noise.shape[0] == 1 else tf.tile(noise, [batch, 1, 1, 1]))
        return maps

    def random_noise(self, random: RandomStream) -> list[tf.Tensor]:
        """Return fresh noise maps, one for each image and layer: a function of `random` only."""
        return self.split_noise(random.fold("noise").normal([self.noise_size]))

    def split_noise(self, noise: tf.Tensor) -> list[tf.Tensor]:
        """Return the maps [B k, h, w, 1] of all layers from one vector for each image, [B, M]."""
        sizes = [int(np.prod(shape)) for shape in self._noise_shapes]
        parts = tf.split(noise, sizes, axis=1)
        return [
            tf.reshape(part, [-1, rows, columns, 1])
            for part, (_, rows, columns) in zip(parts, self._noise_shapes, strict=True)
        ]

    @property
    def noise_size(self) -> int:
        """M, how many numbers the noise maps of an image are."""
        return sum(int(np.prod(shape)) for shape in self._noise_shapes)

    @property
    def _noise_shapes(self) -> list[tuple[int, int, int]]:
        """(images of a sample, rows, columns) of the noise map of each layer."""
        before_merge = self.merge is not None
        shapes = []
        for index in range(len(self.noise) - 1):
            log2 = (index + 5) // 2
            separate = before_merge and log2 <= self.config.merge.layer
            shapes.append((self.config.components if separate else 1, *self.canvas.shape(2**log2)))
        return shapes
