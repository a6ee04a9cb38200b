"""Attention inside a synthesis layer, and what layers hand on to one another."""

from typing import NamedTuple

import tensorflow as tf

from dnnlib.ops import Epilogue, finish_layer, scale_channels
from dnnlib.random_streams import RandomStream
from gansformer.attention import Attention, normalize_layer, upsample_assignment
from gansformer.config import GeneratorConfig
from gansformer.latent_blocks import LatentBlock
from gansformer.positions import Places
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


class LayerAttention(tf.Module):
    """All attention inside one synthesis layer, and the epilogue of that.

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
        self,
        x: tf.Tensor,
        scale: tf.Tensor | None,
        epilogue: Epilogue,
        *,
        index: int,
        positions: Places,
        inputs: Inputs,
        carried: Carried,
    ) -> tuple[tf.Tensor, Carried]:
        """x: [B, H, W, C] of layer `index`; scale: [B, C], what x is multiplied by first."""
        _, rows, columns, channels = x.shape
        random = inputs.random and inputs.random.fold(f"layer{index}")
        if scale is not None and (self.latents_to_image is None or self.collect is not None):
            x, scale = scale_channels(x, scale), None  # not the latents' attention alone reads x
        x = tf.reshape(x, [-1, rows * columns, channels])  # [B, F, C]
        noise = epilogue.noise
        if noise is not None:
            noise = tf.reshape(noise, [noise.shape[0] or -1, rows * columns, 1])
        epilogue, rest = epilogue._replace(noise=noise), None
        if self.image_to_image is not None or self.image_block is not None:
            epilogue, rest = None, epilogue  # they see the features before it
        if self.latents_to_image is not None:
            x, carried = self._attend_latents(
                x, scale, epilogue, (rows, columns), index, positions, inputs, carried
            )
        if self.image_to_image is not None:
            ends = {"from_positions": positions, "to_positions": positions}
            x = self.image_to_image(x, x, **ends, random=random and random.fold("image")).features
        x = x if rest is None else finish_layer(x, rest)
        return tf.reshape(x, [-1, rows, columns, channels]), carried

    def _attend_latents(
        self, x, scale, epilogue, grid, index, positions, inputs: Inputs, carried: Carried
    ):
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
            epilogue=epilogue,
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
