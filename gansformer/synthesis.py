"""Synthesis network: from w to an image, with bipartite attention at chosen resolutions."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dnnlib.ops import activation_gain, bias_act, scale_channels, setup_kernel, upsample2d
from dnnlib.random_streams import RandomStream
from gansformer.attention import Attention, normalize_layer, upsample_assignment
from gansformer.canvas import Canvas, channels_at
from gansformer.config import GeneratorConfig
from gansformer.latent_blocks import LatentBlock
from gansformer.layers import Conv, Dense, ModulatedConv
from gansformer.merge import Merge
from gansformer.positions import GridPositions, Places
from gansformer.variables import Scope


class Inputs(NamedTuple):
    """What all layers of one evaluation share.

    w: [B, K, L, w_dim]. noise: a map [B or 1, h, w, 1] for each layer, or None.
    embedding: [k, w_dim] or None, positions of the region latents. mask: [B, k] or None.
    random: given in training, for dropout.
    """

    w: tf.Tensor
    noise: list[tf.Tensor] | None
    embedding: tf.Tensor | None
    mask: tf.Tensor | None
    random: RandomStream | None


class Carried(NamedTuple):
    """What one layer's attention hands on to the next.

    latents: [B, k, w_dim], updated region latents, or None: those of w.
    assignment: [B, A, k, F] of the previous grid, or None. maps: [B, A, h, w, k] of each layer.
    """

    latents: tf.Tensor | None = None
    assignment: tf.Tensor | None = None
    maps: tuple[tf.Tensor, ...] = ()


class SynthesisLayer(tf.Module):
    """Modulated 3x3 convolution, attention, noise, bias and activation.

    index: l, the layer's number; it uses w[:, :, l + 1] and noise map l.
    gain: multiplies the output, at no cost.
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
        self.index, self.log2, self.gain = index, (index + 5) // 2, gain
        outputs = channels_at(self.log2, base=config.channel_base, maximum=config.channel_max)
        self.grid = canvas.shape(2**self.log2)
        self.activation = config.activation
        self.conv = ModulatedConv(
            scope,
            inputs,
            outputs,
            3,
            w_dim=config.w_size,
            style=config.style,
            resample="up" if up else None,
            kernel=config.resample_kernel,
        )
        self.attention = LayerAttention(
            scope, config, self.log2, outputs, position_dim=position_dim, first=first_attention
        )
        self.noise_strength = scope.full("noise_strength", []) if config.noise else None
        self.bias = scope.full("bias", [outputs])

    def __call__(
        self, x: tf.Tensor, style: tf.Tensor, positions, inputs: Inputs, carried: Carried
    ) -> tuple[tf.Tensor, Carried]:
        """x: [B, H, W, C], style: [B, w_dim], positions: grid -> Places."""
        if self.attention.is_active:
            x, scale = self.conv.apart(x, style)
            places = positions(self.log2)
            x, carried = self.attention(x, scale, self.index, places, inputs, carried)
        else:
            x = self.conv(x, style)
        return self.finish(x, inputs.noise and inputs.noise[self.index]), carried

    def finish(self, x: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Add noise [B or 1, H, W, 1] and bias, and activate."""
        if noise is not None and self.noise_strength is not None:
            x += tf.cast(noise * self.noise_strength, x.dtype)
        gain = activation_gain(self.activation) * self.gain
        return bias_act(x, tf.cast(self.bias, x.dtype), activation=self.activation, gain=gain)


class LayerAttention(tf.Module):
    """All attention inside one synthesis layer.

    Region latents to image first; then, each if configured: between the latents, image to latents,
    between image positions.
    """

    def __init__(
        self,
        scope: Scope,
        config: GeneratorConfig,
        log2: int,
        channels: int,
        *,
        position_dim: int,
        first: bool,
    ):
        super().__init__()
        self.latents_to_image = self.latent_block = self.image_block = self.image_to_image = None
        self.collect = None
        w_dim = config.w_size
        embedding_dim = w_dim if config.component_embedding else None
        gates = {"latent": config.latent_gate, "image": config.image_gate}
        shared = {"heads": config.heads, "dropout": config.attention_dropout}
        image = {"dim": channels, "position_dim": position_dim, "gate": gates["image"]}
        latent = {"dim": w_dim, "position_dim": embedding_dim, "gate": gates["latent"]}
        if config.has_attention and config.start_res <= log2 < config.end_res:
            if config.attention == "duplex" and config.duplex == "paper":
                self.collect = Attention(scope / "AttLayer_n2l", **_ends(latent, image), **shared)
            self.latents_to_image = Attention(
                scope / "AttLayer_l2n",
                **_ends(image, latent),
                to_length=config.components,
                centroids=_centroids(config, first),
                iterations=config.iterations,
                integration=config.integration,
                norm=config.norm,
                **shared,
            )
            if config.latent_to_latent:
                attention = Attention(scope / "AttLayer_l2l", **_ends(latent, latent), **shared)
                names = ("Densel2l_0", "Densel2l_1")
                self.latent_block = LatentBlock(
                    scope, w_dim, dense_names=names, attention=attention
                )
            if config.image_to_latent:
                attention = Attention(scope / "AttLayer_n2l", **_ends(latent, image), **shared)
                names = ("Densen2l_0", "Densen2l_1")
                self.image_block = LatentBlock(scope, w_dim, dense_names=names, attention=attention)
        if config.image_to_image == log2:
            self.image_to_image = Attention(scope / "AttLayer_n2n", **_ends(image, image), **shared)

    @property
    def is_active(self) -> bool:
        """Whether there is any attention in this layer."""
        return self.latents_to_image is not None or self.image_to_image is not None

    def __call__(
        self, x: tf.Tensor, scale, index: int, positions: Places, inputs: Inputs, carried: Carried
    ) -> tuple[tf.Tensor, Carried]:
        """x: [B, H, W, C] of layer `index`; scale: [B, C], what x is multiplied by first."""
        _, rows, columns, channels = x.shape
        random = inputs.random and inputs.random.fold(f"layer{index}")
        if scale is not None and (self.latents_to_image is None or self.collect is not None):
            x, scale = scale_channels(x, scale), None  # not the latents' attention alone reads x
        x = tf.reshape(x, [-1, rows * columns, channels])  # [B, F, C]
        if self.latents_to_image is not None:
            grid = (rows, columns)
            x, carried = self._attend_latents(x, scale, grid, index, positions, inputs, carried)
        if self.image_to_image is not None:
            ends = {"from_positions": positions, "to_positions": positions}
            x = self.image_to_image(x, x, **ends, random=random and random.fold("image")).features
        return tf.reshape(x, [-1, rows, columns, channels]), carried

    def _attend_latents(self, x, scale, grid, index, positions, inputs: Inputs, carried: Carried):
        latents = inputs.w[:, :-1, index + 1] if carried.latents is None else carried.latents
        assignment = carried.assignment
        if assignment is not None:
            assignment = upsample_assignment(assignment, grid)
        random = inputs.random and inputs.random.fold(f"layer{index}")
        if self.collect is not None:
            latents = self._collect(latents, x, positions, inputs.embedding, random)
        result = self.latents_to_image(
            x,
            latents,
            from_positions=positions,
            to_positions=inputs.embedding,
            mask=inputs.mask,
            assignment=assignment,
            scale=scale,
            random=random,
        )
        updated = self._update_latents(
            latents, result.features, positions, inputs.embedding, random
        )
        _, _, heads, columns = result.probabilities.shape
        maps = tf.reshape(result.probabilities, [-1, *grid, heads, columns])
        maps = tf.transpose(maps, [0, 3, 1, 2, 4])  # [B, A, h, w, k]
        return result.features, Carried(updated, result.assignment, (*carried.maps, maps))

    def _collect(self, latents, x, positions, embedding, random) -> tf.Tensor:
        """Y := u^a(Y, X) = LayerNorm(Y + a(Y, X)), Hudson & Zitnick (2021), Eqs. 5-8."""
        collected = self.collect(
            latents,
            x,
            from_positions=embedding,
            to_positions=positions,
            random=random and random.fold("collect"),
        )
        return normalize_layer(collected.features)

    def _update_latents(self, latents, features, positions, embedding, random) -> tf.Tensor | None:
        updated = latents if self.collect is not None else None
        if self.latent_block is not None:
            updated = self.latent_block(
                latents,
                latents,
                from_positions=embedding,
                to_positions=embedding,
                random=random and random.fold("latents"),
            )
        if self.image_block is not None:  # starts from the old latents, as in the official code
            updated = self.image_block(
                latents,
                features,
                from_positions=embedding,
                to_positions=positions,
                random=random and random.fold("image_to_latents"),
            )
        return updated


class ToRgb(tf.Module):
    """Modulated 1x1 convolution to colours; at the end of a GANformer after an extra 3x3 layer."""

    def __init__(
        self, scope: Scope, config: GeneratorConfig, inputs: int, channels: int, *, extra: bool
    ):
        super().__init__()
        self.tanh = config.tanh
        modulation = {"w_dim": config.w_size, "style": config.style}
        self.extra = None
        if extra:
            self.extra = ModulatedConv(scope / "extraLayer", inputs, inputs, 3, **modulation)
        self.conv = ModulatedConv(scope, inputs, channels, 1, demodulate=False, **modulation)
        self.bias = scope.full("bias", [channels])

    def __call__(self, x: tf.Tensor, style: tf.Tensor, extra_style: tf.Tensor) -> tf.Tensor:
        """x: [B, H, W, C], styles [B, w_dim] -> float32 [B, H, W, channels]."""
        if self.extra is not None:
            x = self.extra(x, extra_style)
        # A bfloat16 colour has fewer levels than a picture file; D would learn to see the steps.
        rgb = self.conv(tf.cast(x, tf.float32), style) + self.bias
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
            self.dense = Dense(scope, config.w_size, size, gain=gain, bias=False)
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

    def __call__(self, x, styles: tf.Tensor, positions, inputs: Inputs, carried: Carried):
        """styles: [B, L, w_dim]."""
        skip = None if self.skip is None else self.skip(x)
        for layer in self.layers:
            x, carried = layer(x, styles[:, layer.index + 1], positions, inputs, carried)
        return (x if skip is None else x + skip), carried


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
        self.positions = GridPositions(
            scope,
            canvas,
            kind=config.position_type,
            dim=config.position_dim or config.w_size,
            init=config.position_init,
            directions=config.position_directions,
        )
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
            extra = r == last and config.has_attention and r <= config.end_res
            rgb_scope = scope / names[r] / "ToRGB"
            self.to_rgb[str(r)] = ToRgb(rgb_scope, config, width, channels, extra=extra)
        self.merge = self._make_merge(scope)

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
        inputs = Inputs(w, noise, embedding, mask, random)
        styles = w[:, -1]  # [B, L, w_dim]: the global latent
        if self.merge is not None:
            styles = tf.reshape(w, [-1, w.shape[2], w.shape[3]])  # [B k, L, w_dim]
        x = tf.cast(self.stem(styles[:, 0], noise and noise[0]), self.dtypes[2])
        x, carried = self.first(x, styles[:, 1], self.positions, inputs, Carried())
        rgb = self._add_rgb(None, x, 2, styles)
        for log2, block in enumerate(self.blocks, start=3):
            x = tf.cast(x, self.dtypes[log2])
            x, carried = block(x, styles, self.positions, inputs, carried)
            if self.merge is not None and log2 == self.config.merge.layer:
                x, styles = self.merge(x, w)
            rgb = self._add_rgb(rgb, x, log2, styles)
        return rgb, carried.maps

    def _add_rgb(self, rgb: tf.Tensor | None, x, log2: int, styles) -> tf.Tensor | None:
        if str(log2) not in self.to_rgb:
            return rgb
        style, extra_style = styles[:, 2 * log2 - 2], styles[:, 2 * self.canvas.log2 - 3]
        added = self.to_rgb[str(log2)](x, style, extra_style)
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
        before_merge = self.merge is not None
        shapes = []
        for index in range(len(self.noise) - 1):
            log2 = (index + 5) // 2
            separate = before_merge and log2 <= self.config.merge.layer
            shapes.append((self.config.components if separate else 1, *self.canvas.shape(2**log2)))
        sizes = [int(np.prod(shape)) for shape in shapes]
        parts = tf.split(random.fold("noise").normal([sum(sizes)]), sizes, axis=1)
        return [
            tf.reshape(part, [-1, rows, columns, 1])
            for part, (_, rows, columns) in zip(parts, shapes, strict=True)
        ]


def _ends(source: dict, target: dict) -> dict:
    """Return the arguments of an attention layer from `source` (attending) to `target`."""
    return {
        "from_dim": source["dim"],
        "to_dim": target["dim"],
        "width": source["dim"],
        "from_position_dim": source["position_dim"],
        "to_position_dim": target["position_dim"],
        "from_gate": source["gate"],
        "to_gate": target["gate"],
    }


def _centroids(config: GeneratorConfig, first: bool) -> str | None:
    if config.attention == "simplex":
        return None
    if config.duplex == "paper":
        return "attended"
    if not config.iterative:
        return "learned"
    return "queries" if first else "carried"
