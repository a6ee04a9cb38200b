"""The Inception network of 2015-12-05 as a description, with the node names of its frozen graph.

The architecture is that of Szegedy et al. 2015, "Rethinking the Inception Architecture for Computer
Vision", as published for classification into 1008 classes. Unlike the later ones of Keras and
torchvision it takes the maximum, not the average, in the pool branch of its last block.

A description of ours rather than keras.applications' layers: those are what the tests compare it
with, and the names of the weights in all known files follow from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

CLASSES = 1008
FEATURES = 2048


@dataclass(frozen=True)
class Convolve:
    """Convolution [rows, columns], batch normalisation, ReLU."""

    name: str
    rows: int
    columns: int
    channels: int
    stride: int = 1
    padding: str = "SAME"


@dataclass(frozen=True)
class Pool:
    """3x3 pooling; the average leaves out what lies beyond the border."""

    kind: str  # "AVG" or "MAX"
    stride: int = 1
    padding: str = "SAME"


@dataclass(frozen=True)
class Fork:
    """Chains that get the same input; their outputs are concatenated."""

    chains: tuple["Chain", ...]


Chain = tuple[Convolve | Pool | Fork, ...]
_REDUCE = Pool("MAX", stride=2, padding="VALID")


def _tower(prefix: str, *layers: tuple[int, int, int], halve: bool = False) -> Chain:
    """Layers (rows, columns, channels) named conv, conv_1, ...; halve: the last has stride 2."""
    names = [f"{prefix}/conv" + (f"_{i}" if i else "") for i in range(len(layers))]
    steps = [Convolve(name, *layer) for name, layer in zip(names, layers, strict=True)]
    if halve:
        steps[-1] = Convolve(names[-1], *layers[-1], stride=2, padding="VALID")
    return tuple(steps)


def _block_35(name: str, pooled: int) -> Fork:
    return Fork(
        (
            _tower(name, (1, 1, 64)),
            _tower(f"{name}/tower", (1, 1, 48), (5, 5, 64)),
            _tower(f"{name}/tower_1", (1, 1, 64), (3, 3, 96), (3, 3, 96)),
            (Pool("AVG"), *_tower(f"{name}/tower_2", (1, 1, pooled))),
        )
    )


def _block_35_to_17(name: str) -> Fork:
    return Fork(
        (
            _tower(name, (3, 3, 384), halve=True),
            _tower(f"{name}/tower", (1, 1, 64), (3, 3, 96), (3, 3, 96), halve=True),
            (_REDUCE,),
        )
    )


def _block_17(name: str, inner: int) -> Fork:
    wide, high = (1, 7), (7, 1)
    return Fork(
        (
            _tower(name, (1, 1, 192)),
            _tower(f"{name}/tower", (1, 1, inner), (*wide, inner), (*high, 192)),
            _tower(
                f"{name}/tower_1",
                (1, 1, inner),
                (*high, inner),
                (*wide, inner),
                (*high, inner),
                (*wide, 192),
            ),
            (Pool("AVG"), *_tower(f"{name}/tower_2", (1, 1, 192))),
        )
    )


def _block_17_to_8(name: str) -> Fork:
    return Fork(
        (
            _tower(f"{name}/tower", (1, 1, 192), (3, 3, 320), halve=True),
            _tower(
                f"{name}/tower_1", (1, 1, 192), (1, 7, 192), (7, 1, 192), (3, 3, 192), halve=True
            ),
            (_REDUCE,),
        )
    )


def _block_8(name: str, pool: str) -> Fork:
    def split(prefix: str) -> Fork:
        mixed = f"{prefix}/mixed"
        wide, high = Convolve(f"{mixed}/conv", 1, 3, 384), Convolve(f"{mixed}/conv_1", 3, 1, 384)
        return Fork(((wide,), (high,)))

    return Fork(
        (
            _tower(name, (1, 1, 320)),
            (*_tower(f"{name}/tower", (1, 1, 384)), split(f"{name}/tower")),
            (*_tower(f"{name}/tower_1", (1, 1, 448), (3, 3, 384)), split(f"{name}/tower_1")),
            (Pool(pool), *_tower(f"{name}/tower_2", (1, 1, 192))),
        )
    )


GRAPH: Chain = (  # 299 x 299 x 3
    Convolve("conv", 3, 3, 32, stride=2, padding="VALID"),
    Convolve("conv_1", 3, 3, 32, padding="VALID"),
    Convolve("conv_2", 3, 3, 64),
    _REDUCE,
    Convolve("conv_3", 1, 1, 80, padding="VALID"),
    Convolve("conv_4", 3, 3, 192, padding="VALID"),
    _REDUCE,  # 35 x 35 x 192
    _block_35("mixed", 32),
    _block_35("mixed_1", 64),
    _block_35("mixed_2", 64),
    _block_35_to_17("mixed_3"),
    _block_17("mixed_4", 128),
    _block_17("mixed_5", 160),
    _block_17("mixed_6", 160),
    _block_17("mixed_7", 192),
    _block_17_to_8("mixed_8"),
    _block_8("mixed_9", "AVG"),
    _block_8("mixed_10", "MAX"),  # 8 x 8 x 2048
)


def kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    """Return the kernel shape [rows, columns, in, out] of every convolution, in graph order."""
    shapes: dict[str, tuple[int, int, int, int]] = {}
    for step, channels in _walk(GRAPH, 3):
        if isinstance(step, Convolve):
            shapes[step.name] = (step.rows, step.columns, channels, step.channels)
    return shapes


def _walk(chain: Chain, channels: int) -> Iterator[tuple[Convolve | Pool | Fork, int]]:
    """Yield every step with its input channels."""
    for step in chain:
        if isinstance(step, Fork):
            for inner in step.chains:
                yield from _walk(inner, channels)
        yield step, channels
        channels = _output_channels(step, channels)


def _output_channels(step: Convolve | Pool | Fork, channels: int) -> int:
    if isinstance(step, Convolve):
        return step.channels
    if isinstance(step, Pool):
        return channels
    totals = []
    for chain in step.chains:
        inner = channels
        for part in chain:
            inner = _output_channels(part, inner)
        totals.append(inner)
    return sum(totals)
