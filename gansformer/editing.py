"""Editing of latents: functions of z [B, K, z_dim] and w [B, K, L, w_dim] to arrays like them.

All are pure, take and return NumPy arrays, and need no network but for `first_weights`. The global
latent is the last of the K. A change of w stays with the component that it is made to; one of z
does not where the components attend to one another in the mapping network.

    z = gansformer.latents(G, [1, 2]).numpy()
    halfway = G.mapping(slerp(z[:1], z[1:], 0.5))
    w = G.mapping(z).numpy()
    swapped = mix_components(w[:1], w[1:], [3])
    out = G.synthesis(swapped, seed=[1])
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gansformer.generator import Generator

Interpolation = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def lerp(first: np.ndarray, second: np.ndarray, t: float) -> np.ndarray:
    """Return (1 - t) first + t second, for arrays of one shape; exactly the ends at t = 0 and 1."""
    return ((1 - t) * first + t * second).astype(first.dtype)


def slerp(first: np.ndarray, second: np.ndarray, t: float) -> np.ndarray:
    """Interpolate on great circles along the last axis (Shoemake 1985); exact at t = 0 and 1.

    Lengths are interpolated linearly, so that points between two draws from N(0, I) have about the
    length of a draw. Where two directions agree or are opposite, as lerp.
    """
    lengths = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (first, second)]
    products = np.maximum(lengths[0] * lengths[1], np.finfo(np.float32).tiny)
    cosine = np.sum(first * second, axis=-1, keepdims=True, dtype=np.float64) / products
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    length = (1 - t) * lengths[0] + t * lengths[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = [
            np.sin(part * angle) / sine * length / own
            for part, own in zip((1 - t, t), lengths, strict=True)
        ]
        circular = weights[0] * first + weights[1] * second
    is_flat = (sine < 1e-4) | (products < 1e-30)
    return np.where(is_flat, lerp(first, second, t), circular).astype(first.dtype)


def walk(
    points: Sequence[np.ndarray], steps: int, *, interpolate: Interpolation, closed: bool = False
) -> Iterator[np.ndarray]:
    """Yield arrays on the way through `points`, `steps` from each to the next.

    Each point itself is among them. closed: from the last one back to the first, for a loop; else
    the last point ends the way.
    """
    ends = [*points[1:], points[0]] if closed else points[1:]
    for first, second in zip(points, ends, strict=False):
        for step in range(steps):
            yield interpolate(first, second, step / steps)
    if not closed:
        yield points[-1]


def mix_layers(w: np.ndarray, other: np.ndarray, layers: Iterable[int]) -> np.ndarray:
    """Return w with some of its L layers from `other` (style mixing)."""
    mixed, layers = np.array(w), list(layers)
    mixed[:, :, layers] = np.broadcast_to(other, w.shape)[:, :, layers]
    return mixed


def mix_components(latents: np.ndarray, other: np.ndarray, components: Iterable[int]) -> np.ndarray:
    """Return z or w with `components` from `other`: swapped, or resampled if `other` is fresh."""
    mixed, components = np.array(latents), list(components)
    mixed[:, components] = np.broadcast_to(other, latents.shape)[:, components]
    return mixed


def move(
    w: np.ndarray,
    direction: np.ndarray,
    amount: float,
    *,
    components: Iterable[int] | None = None,
    layers: Iterable[int] | None = None,
) -> np.ndarray:
    """Return w + amount direction in some components and layers (None: in all).

    direction: [w_dim].
    """
    _, count, depth, _ = w.shape
    chosen = np.zeros([count, depth], bool)
    rows = range(count) if components is None else components
    columns = range(depth) if layers is None else layers
    chosen[np.ix_(list(rows), list(columns))] = True
    return np.where(chosen[:, :, None], w + np.asarray(amount * direction, w.dtype), w)


class Directions(NamedTuple):
    """Directions in w, the strongest first.

    vectors: [N, w_dim], orthonormal. strengths: [N], what each is ordered by.
    """

    vectors: np.ndarray
    strengths: np.ndarray


def principal_directions(samples: np.ndarray, count: int) -> Directions:
    """Return the principal components of samples of w [N, w_dim] (Härkönen et al. 2020, GANSpace).

    strengths: the standard deviation of the samples along each.
    """
    samples = np.asarray(samples, np.float64)
    return _eigenvectors(np.cov(samples, rowvar=False), count)


def closed_form_directions(weights: Sequence[np.ndarray], count: int) -> Directions:
    """Return the directions that weights amplify most (Shen & Zhou 2021, SeFa, Eq. 6).

    weights: matrices [w_dim, outputs] that w is multiplied by first, see `first_weights`.
    strengths: the length of what a step of length 1 in a direction changes in all outputs together.
    """
    return _eigenvectors(sum(np.float64(a) @ np.float64(a).T for a in weights), count)


def _eigenvectors(matrix: np.ndarray, count: int) -> Directions:
    """Return the eigenvectors of a covariance with the largest eigenvalues, and their roots.

    Of the two signs, the one in which the largest entry is positive.
    """
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(values)[::-1][:count]
    vectors, values = vectors.T[order], values[order]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    vectors = (vectors * np.sign(largest)).astype(np.float32)
    return Directions(vectors, np.sqrt(np.maximum(values, 0)).astype(np.float32))


def first_weights(generator: Generator, component: int, layers: Iterable[int]) -> list[np.ndarray]:
    """Return the matrices [w_dim, outputs] that a component's w meets first, in some of L layers.

    Of a region's component, the values of attention (and with simplex the keys); of the global
    latent, the modulation of convolutions. Raises ValueError if these layers have none.
    """
    network, config = generator.synthesis_network, generator.config
    wanted = set(layers)
    is_global = component == config.latents - 1
    found = []
    for layer in network.layers:
        if layer.index + 1 not in wanted:
            continue
        if is_global and config.style:
            found.append(layer.conv.modulation.weight * layer.conv.modulation.scale)
        elif not is_global and layer.attention is not None and layer.attention.to_image is not None:
            attention = layer.attention.to_image
            found.append(attention.value.scaled_weight())
            if config.attention == "simplex":  # the release's duplex leaves its keys unused
                found.append(attention.key.content.scaled_weight())
    if not found:
        kind = "the global latent modulates nothing" if is_global else "no image attends"
        raise ValueError(f"{kind} in layers {sorted(wanted)} of this network")
    return [np.asarray(weight) for weight in found]
