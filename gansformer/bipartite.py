"""One layer's attention between an image and its components: what attends to what, in which order.

The discriminator's components are what the paper calls its aggregators.
"""

from typing import NamedTuple

import tensorflow as tf

from dnnlib.random_streams import RandomStream
from gansformer.attention import Attention, DuplexAttention, KMeansAttention, normalize
from gansformer.config import DiscriminatorConfig, GeneratorConfig
from gansformer.residual_block import ResidualBlock
from gansformer.variables import Scope


class Components(NamedTuple):
    """What layers hand on to one another about the components.

    values: [B, k, D], or None in a generator as long as no layer has updated them: then each layer
      takes them from its own slice of w. positions: [k, D], their embedding, or None.
    mask: [B, k], 0 hides a component from the image, or None. maps: [B, A, H, W, k] of each layer
      in which the image attends to them.
    """

    values: tf.Tensor | None
    positions: tf.Tensor | None
    mask: tf.Tensor | None = None
    maps: tuple[tf.Tensor, ...] = ()


class BipartiteAttention(tf.Module):
    """All attention in one layer, in this order; each part may be missing (None).

    gather: components from the image; where the paper's duplex alternates, as Eq. 5.
    to_image: the image from the components.
    between_components, from_image: residual blocks: components among themselves; components from
      the image. Of both, the result of the second one holds, as in the official code.
    within_image: positions among themselves (Zhang et al. 2019, SAGAN).
    """

    def __init__(
        self,
        *,
        gather: Attention | None = None,
        gather_normalizes: bool = False,
        to_image: Attention | None = None,
        between_components: ResidualBlock | None = None,
        from_image: ResidualBlock | None = None,
        within_image: Attention | None = None,
    ):
        super().__init__()
        self.gather, self.gather_normalizes = gather, gather_normalizes
        self.to_image, self.within_image = to_image, within_image
        self.between_components, self.from_image = between_components, from_image

    def __call__(
        self,
        x: tf.Tensor,
        y: tf.Tensor | None,
        components: Components,
        *,
        positions: tf.Tensor,
        random: RandomStream | None = None,
    ) -> tuple[tf.Tensor, Components]:
        """Update the image x [B, H, W, C] and its components y [B, k, D].

        positions: [H W, p], those of the image. random: in training, for dropout.
        """
        grid, channels = x.shape[1:3], x.shape[3]
        x = tf.reshape(x, [-1, grid.num_elements(), channels])  # [B, N, C]
        at_image, at_components = positions, components.positions
        stream = lambda name: random and random.fold(name)  # noqa: E731
        if self.gather is not None:  # Eq. 5: Y := u^a(Y, X)
            ends = {"x_positions": at_components, "y_positions": at_image}
            y, _ = self.gather(y, x, **ends, random=stream("gather"))
            y = normalize(y) if self.gather_normalizes else y
            components = components._replace(values=y)
        if self.to_image is not None:  # Eq. 6: X := u^s(X, Y), or Eq. 8: X := u^d(X, Y)
            x, probabilities = self.to_image(
                x,
                y,
                x_positions=at_image,
                y_positions=at_components,
                mask=components.mask,
                previous=components.maps[-1] if components.maps else None,
                random=stream("to_image"),
            )
            components = with_map(components, probabilities, grid)
        if self.between_components is not None:
            ends = {"x_positions": at_components, "y_positions": at_components}
            values = self.between_components(y, y, **ends, random=stream("between_components"))
            components = components._replace(values=values)
        if self.from_image is not None:
            ends = {"x_positions": at_components, "y_positions": at_image}
            values = self.from_image(y, x, **ends, random=stream("from_image"))
            components = components._replace(values=values)
        if self.within_image is not None:
            ends = {"x_positions": at_image, "y_positions": at_image}
            x, _ = self.within_image(x, x, **ends, random=stream("within_image"))
        return tf.reshape(x, [-1, *grid, channels]), components


def with_map(components: Components, probabilities: tf.Tensor, grid) -> Components:
    """Return components with one more map, from probabilities [B, A, N, k] on a grid (H, W)."""
    _, heads, _, k = probabilities.shape
    attention_map = tf.reshape(probabilities, [-1, heads, *grid, k])  # [B, A, H, W, k]
    return components._replace(maps=(*components.maps, attention_map))


def generator_attention(
    scope: Scope,
    config: GeneratorConfig,
    log2: int,
    channels: int,
    *,
    position_dim: int,
    first: bool,
) -> BipartiteAttention | None:
    """Return the attention of one synthesis layer at 2^log2 pixels, or None where it has none.

    first: whether this is the first layer with attention, where centroids that are carried on from
    layer to layer start.
    """
    image, component, shared = _elements(config, channels, position_dim)
    parts = {}
    if config.has_attention and config.start_res <= log2 < config.end_res:
        parts["to_image"] = _image_from_components(scope, config, image, component, first)
        if config.attention == "duplex" and config.duplex == "paper":
            gather = scope / "AttLayer_n2l", component, image
            parts["gather"] = Attention(*gather, width=component[0], **shared)
            parts["gather_normalizes"] = True
        if config.component_to_component:
            names = "AttLayer_l2l", "Densel2l_0", "Densel2l_1"
            block = _residual_block(scope, names, component, component, shared)
            parts["between_components"] = block
        if config.image_to_component:
            names = "AttLayer_n2l", "Densen2l_0", "Densen2l_1"
            parts["from_image"] = _residual_block(scope, names, component, image, shared)
    if config.image_to_image == log2:
        options = {"width": channels, **shared}
        parts["within_image"] = Attention(scope / "AttLayer_n2n", image, image, **options)
    return BipartiteAttention(**parts) if parts else None


def discriminator_attention(
    scope: Scope, config: DiscriminatorConfig, log2: int, channels: int, *, position_dim: int
) -> BipartiteAttention | None:
    """Return the attention of one discriminator block at 2^log2 pixels, or None if it has none."""
    image, component, shared = _elements(config, channels, position_dim)
    dim = component[0]
    parts = {}
    if config.attention and config.start_res <= log2 < config.end_res:
        gather = scope / "AttLayer_n2l", component, image
        parts["gather"] = Attention(*gather, width=dim, **shared)
        if config.component_to_image:
            to_image = scope / "AttLayer_l2n", image, component
            parts["to_image"] = Attention(*to_image, width=channels, **shared)
        if config.component_to_component:
            names = "AttLayer_l2l", "Densel2l_0", "Densel2l_1"
            block = _residual_block(scope, names, component, component, shared)
            parts["between_components"] = block
    if config.image_to_image == log2:
        parts["within_image"] = Attention(scope / "AttLayer_n2n", image, image, width=dim, **shared)
    return BipartiteAttention(**parts) if parts else None


def _elements(config, channels: int, position_dim: int) -> tuple[tuple, tuple, dict]:
    """Return what `Attention` wants to know of positions, of components, and of all attention."""
    dim = config.component_dim
    image = channels, position_dim, config.image_gate
    component = dim, dim if config.component_embedding else None, config.component_gate
    return image, component, {"heads": config.heads, "dropout": config.attention_dropout}


def _image_from_components(
    scope: Scope, config: GeneratorConfig, image: tuple, component: tuple, first: bool
) -> Attention:
    """Return the attention of the kind that a configuration names."""
    options = {
        "width": image[0],
        "heads": config.heads,
        "integration": config.integration,
        "norm": config.norm,
        "dropout": config.attention_dropout,
    }
    arguments = scope / "AttLayer_l2n", image, component
    if config.attention == "duplex" and config.duplex == "paper":
        return DuplexAttention(*arguments, **options)
    options["iterations"] = config.kmeans_iterations
    if config.attention == "simplex":
        return Attention(*arguments, **options)
    start = "learned"
    if config.carry_centroids:
        start = "queries" if first else "carried"
        options["folded"] = config.folded_centroids
    return KMeansAttention(*arguments, components=config.components, start=start, **options)


def _residual_block(
    scope: Scope, names: tuple[str, str, str], component: tuple, other: tuple, shared: dict
) -> ResidualBlock:
    """Return the block in which components attend to others; names: of attention and layers."""
    dim = component[0]
    attention = Attention(scope / names[0], component, other, width=dim, **shared)
    return ResidualBlock(scope, dim, dense_names=names[1:], attention=attention)
