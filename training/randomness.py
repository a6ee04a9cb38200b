"""What training draws at random (latents, mixing cutoffs, noise, dropout), and images from it."""

from typing import NamedTuple

import tensorflow as tf

from dnnlib.devices import on_host
from dnnlib.random_streams import RandomStream
from gansformer.generator import Generator


class Draws(NamedTuple):
    """What one evaluation of the generator draws.

    z: [2 B, K, z_dim], N(0, 1). The second half takes over from a cutoff on.
    style_cutoff: layers with index < cutoff use z; L or more: no mixing.
    component_cutoff: the same for components.
    noise: a map for each layer, or None. mask: [B, k], 0 drops a component, or None.
    random: for dropout inside the networks, or None.
    """

    z: tf.Tensor
    style_cutoff: tf.Tensor
    component_cutoff: tf.Tensor
    noise: list[tf.Tensor] | None
    mask: tf.Tensor | None
    random: RandomStream | None


class Randomness:
    """All random numbers of a run: a pure function of (seed, purpose, number of the image)."""

    def __init__(
        self, generator: Generator, *, seed: int, style_mixing: float, component_mixing: float
    ):
        self.generator, self.seed = generator, seed
        self.style_mixing, self.component_mixing = style_mixing, component_mixing

    def stream(self, purpose: str, index: tf.Tensor) -> RandomStream:
        """Return the random numbers for a purpose, for the images with these numbers, int64 [B]."""
        return RandomStream(f"run {self.seed}/{purpose}", index)

    def draw(self, purpose: str, index: tf.Tensor, first: tf.Tensor) -> Draws:
        """Return what one evaluation of the generator needs, for images `index` [B].

        first: number of the first image of the minibatch; mixing cutoffs are one for the batch.
        """
        stream, batch = self.stream(purpose, index), self.stream(purpose, first)
        config = self.generator.config
        shape = [config.latents, config.z_dim]
        network = self.generator.synthesis_network
        mask = None
        if config.component_dropout:
            kept = stream.fold("component").uniform([config.components])
            mask = tf.cast(kept >= config.component_dropout, tf.float32)
        return Draws(
            stream.fold("z").then(stream.fold("second z")).normal(shape),
            _cutoff(batch.fold("style"), self.style_mixing, self.generator.layers),
            _cutoff(batch.fold("components"), self.component_mixing, config.latents),
            network.random_noise(stream) if config.noise else None,
            mask,
            stream.fold("dropout"),
        )


def _cutoff(stream: RandomStream, probability: float, count: int) -> tf.Tensor:
    """Return an integer from 1 to count - 1 with the given probability, else `count`."""
    with on_host():
        mixed, position = tf.unstack(stream.uniform([2])[0])
        cutoff = 1 + tf.cast(position * (count - 1), tf.int32)
        return tf.where(mixed < probability, tf.minimum(cutoff, count - 1), count)


def generate(
    generator: Generator, draws: Draws, labels: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Evaluate the generator in training mode.

    Returns images [B, H, W, C], the w they were made from [B, K, L, w_dim], and the mean [w_dim]
    of w over batch and components from before mixing, of which w_avg is the running average.
    """
    both = generator.mapping_network(
        draws.z,
        twice(labels),
        component_mask=twice(draws.mask),
        random=draws.random and draws.random.then(draws.random),
    )
    w, second = tf.split(both, 2, axis=0)
    mean = tf.reduce_mean(w[:, :, 0], axis=[0, 1])
    w = mix(w, second, style=draws.style_cutoff, component=draws.component_cutoff)
    return synthesize(generator, w, draws), w, mean


def twice(x: tf.Tensor | None) -> tf.Tensor | None:
    """Return a batch that holds each element a second time, in the same order; None stays None."""
    return x if x is None else tf.concat([x, x], axis=0)


def mix(w: tf.Tensor, second: tf.Tensor, *, style: tf.Tensor, component: tf.Tensor) -> tf.Tensor:
    """Use w in layers before `style` and, of these, in components before `component`."""
    _, components, layers, _ = w.shape
    with on_host():
        keep = tf.range(layers) < style  # [L]
        keep &= (tf.range(components) < component)[:, None]  # [K, L]
        keep = keep[None, :, :, None]
    return tf.where(keep, w, second)


def synthesize(generator: Generator, w: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Make images from w in training mode, [B, H, W, C]."""
    network = generator.synthesis_network
    return network(w, noise=draws.noise, mask=draws.mask, random=draws.random)[0]
