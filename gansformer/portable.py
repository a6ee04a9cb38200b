"""A generator as functions of TensorFlow's own operations only, for files that others load.

Our native ops exist in this project only. Here the networks are traced in their plain form, and
random numbers are made by arithmetic that every runtime has: the same numbers as `RandomStream`.
"""

import math
from typing import Any

import tensorflow as tf

from dnnlib.ops.library import use_implementation
from dnnlib.random_streams import stream_key

STORED_NOISE = -1  # instead of a seed: the stored noise maps


def portable_functions(generator: Any, *, attention: bool = False) -> dict[str, Any]:
    """Return the functions "generate", "mapping" and "synthesis" of a generator.

    generate: z [B, K, z_dim], labels [B, label_dim] where there are labels, psi, psi_cutoff, seed
      [B] -> images, pixels, w. mapping: z, labels -> w, not truncated. synthesis: w, seed ->
      images, pixels. psi is a float32 scalar, psi_cutoff an int32 scalar: the number of slices of w
      that are truncated. seed is int32, one for each image; `STORED_NOISE`: the stored maps.
      images: float32 [B, H, W, C], about in [-1, 1]; pixels: the same as uint8. w: float32
      [B, K, L, w_dim], after truncation.
    attention: also return attention_0, attention_1, ...: float32 [B, A, h, w, k] of each layer.
    """
    config, slices = generator.config, generator.layers
    z = tf.TensorSpec([None, config.latents, config.z_dim], tf.float32, "z")
    labels = tf.TensorSpec([None, generator.label_dim], tf.float32, "labels")
    w = tf.TensorSpec([None, config.latents, slices, config.component_dim], tf.float32, "w")
    seed = tf.TensorSpec([None], tf.int32, "seed")
    psi = tf.TensorSpec([], tf.float32, "psi")
    cutoff = tf.TensorSpec([], tf.int32, "psi_cutoff")
    given = [z, labels] if generator.label_dim else [z]

    def synthesize(w: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        images, maps = generator.synthesis_network(w, noise=_noise(generator, seed))
        pixels = tf.clip_by_value(tf.round(images * 127.5 + 127.5), 0, 255)
        outputs = {"images": images, "pixels": tf.cast(pixels, tf.uint8)}
        if attention:
            outputs |= {f"attention_{i}": each for i, each in enumerate(maps)}
        return outputs

    def truncate(w: tf.Tensor, psi: tf.Tensor, cutoff: tf.Tensor) -> tf.Tensor:
        center = generator.truncation_center()  # [K or 1, 1, w_dim]
        truncated = center + psi * (w - center)
        is_truncated = tf.range(slices) < cutoff
        return tf.where(is_truncated[None, None, :, None], truncated, w)

    @_function(given)
    def mapping(*inputs):
        return {"w": generator.mapping_network(*inputs)}

    @_function([w, seed])
    def synthesis(w, seed):
        return synthesize(w, seed)

    @_function([*given, psi, cutoff, seed])
    def generate(*inputs):
        *given, psi, cutoff, seed = inputs
        w = truncate(generator.mapping_network(*given), psi, cutoff)
        return synthesize(w, seed) | {"w": w}

    return {"generate": generate, "mapping": mapping, "synthesis": synthesis}


def _function(signature: list[tf.TensorSpec]):
    """Return a decorator that traces a function of these inputs in the plain form."""

    def decorate(function):
        def plain(*inputs):
            with use_implementation("reference"):
                return function(*inputs)

        return tf.function(plain, input_signature=signature, autograph=False)

    return decorate


def _noise(generator: Any, seed: tf.Tensor) -> list[tf.Tensor] | None:
    """Return the noise maps of images whose seeds are given, [B or B k, h, w, 1] for each layer."""
    if not generator.config.noise:
        return None
    network, batch = generator.synthesis_network, tf.shape(seed)[0]
    random = network.random_noise(PortableStream("sample", seed))
    chosen = []
    for fresh, stored in zip(random, network.stored_noise(batch), strict=True):
        is_random = tf.repeat(seed != STORED_NOISE, tf.shape(fresh)[0] // batch)
        chosen.append(tf.where(is_random[:, None, None, None], fresh, stored))
    return chosen


class PortableStream:
    """The normal numbers of `RandomStream` from the operations that every runtime has.

    Philox 4x32-10 (Salmon et al. 2011) and Box-Muller, as TensorFlow computes them, in int32: its
    products wrap around, and there are neither unsigned numbers nor shifts.
    index: int32 [B], not negative.
    """

    def __init__(self, name: str, index: tf.Tensor):
        self.name, self.index = name, index

    def fold(self, name: str) -> "PortableStream":
        """Return the stream `self.name/name` at the same indices."""
        return PortableStream(f"{self.name}/{name}", self.index)

    def normal(self, shape: list[int]) -> tf.Tensor:
        """Return N(0, 1) numbers [B, *shape]."""
        count = math.prod(shape)
        blocks = tf.range((count + 3) // 4)[None, None]  # [1, 1, N]: four numbers each
        with tf.init_scope():  # a constant, also where a function is traced
            key = int(stream_key(self.name).numpy())
        index = tf.reshape(self.index, [1, -1, 1])
        zero = tf.zeros_like(index)
        name = tf.concat([zero + _as_int32(key), zero + _as_int32(key >> 32)], axis=0)
        seed = tf.concat([index, zero], axis=0)
        mixed = _philox(_interleave(name, seed), _column(_SCRAMBLE) + tf.concat([zero, zero], 0))
        mixed_key, mixed_counter = _separate(mixed)  # [2, B, 1] each
        block = tf.concat([blocks + zero, tf.zeros_like(blocks + zero)], axis=0)  # [2, B, N]
        words = _philox(_interleave(block, mixed_counter + tf.zeros_like(block)), mixed_key)
        first, second = _separate(words)
        numbers = [*_box_muller(*tf.unstack(first)), *_box_muller(*tf.unstack(second))]
        flat = tf.reshape(tf.stack(numbers, axis=2), [-1, 4 * ((count + 3) // 4)])
        return tf.reshape(flat[:, :count], [-1, *shape])


_SCRAMBLE = (0x3EC8F720, 0x02461E29)
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def _as_int32(word: int) -> int:
    """Return the int32 with the lower 32 bits of a number."""
    word &= 0xFFFFFFFF
    return word - 2**32 if word >= 2**31 else word


def _column(words: tuple[int, int]) -> tf.Tensor:
    return tf.constant([[[_as_int32(word)]] for word in words], tf.int32)  # [2, 1, 1]


def _interleave(first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """From words 0, 1 and words 2, 3 to words 0, 2 and words 1, 3, each [2, B, N]."""
    return tf.stack([first[0], second[0]]), tf.stack([first[1], second[1]])


_separate = lambda words: _interleave(*words)  # noqa: E731  it is its own inverse


def _philox(counter: tuple[tf.Tensor, tf.Tensor], key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return what ten rounds make of a counter: words 0, 2 and words 1, 3, each [2, B, N].

    key: [2, B or 1, 1].
    """
    factors, weyl, xor = _MULTIPLIERS, _column(_WEYL), tf.bitwise.bitwise_xor

    def round_(i, even, odd, key):
        low, high = _multiply(even, factors)
        even = xor(xor(high[::-1], odd), key + tf.zeros_like(odd))
        return i + 1, even, low[::-1], key + weyl

    _, even, odd, _ = tf.while_loop(lambda i, *_: i < 10, round_, (tf.constant(0), *counter, key))
    return even, odd


def _multiply(x: tf.Tensor, factors: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the low and the high words of the 64-bit products of unsigned words [2, B, N]."""
    x0, x1 = _low(x), _high(x)
    f0 = _column(tuple(factor & 0xFFFF for factor in factors))
    f1 = _column(tuple(factor >> 16 for factor in factors))
    p00, p01, p10, p11 = x0 * f0, x0 * f1, x1 * f0, x1 * f1
    middle = _high(p00) + _low(p01) + _low(p10)  # below 2^18
    return x * _column(factors), p11 + _high(p01) + _high(p10) + _high(middle)


def _low(x: tf.Tensor) -> tf.Tensor:
    """Return the lower 16 bits of an unsigned word."""
    return _modulo(x, 65536)


def _high(x: tf.Tensor) -> tf.Tensor:
    """Return the upper 16 bits of an unsigned word."""
    return _modulo(tf.math.floordiv(x - _low(x), 65536), 65536)


def _modulo(x: tf.Tensor, n: int) -> tf.Tensor:
    """Return x mod n, from 0 to n - 1, also where a remainder has the sign of x (ONNX)."""
    return tf.math.floormod(tf.math.floormod(x, n) + n, n)


def _box_muller(first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return two N(0, 1) numbers for two words."""
    uniform = tf.maximum(_uniform(first), 1e-7)
    angle = _uniform(second) * (2 * math.pi)
    radius = tf.sqrt(-2 * tf.math.log(uniform))
    return tf.sin(angle) * radius, tf.cos(angle) * radius


def _uniform(word: tf.Tensor) -> tf.Tensor:
    """Return a number in [0, 1) from the lower 23 bits of a word."""
    return tf.cast(_modulo(word, 2**23), tf.float32) * 2.0**-23
