"""Random numbers of a batch, each image of which has a seed of its own.

TensorFlow's operations take one seed for all their numbers. On a GPU, where each of them is a
launch and two copies of a few bytes, a kernel makes the same numbers for all seeds at once; there
is none for CPUs, where drawing for each image costs nothing that can be measured.
"""

import tensorflow as tf

from dnnlib.devices import on_host
from dnnlib.ops.library import current_device, native_kernels

SAMPLERS = {
    "normal": tf.raw_ops.StatelessRandomNormalV2,
    "uniform": tf.raw_ops.StatelessRandomUniformV2,
}
PHILOX = 1  # among tf.random.Algorithm


@tf.autograph.experimental.do_not_convert
def stateless_random(seeds: tf.Tensor, shape: list[int], *, distribution: str) -> tf.Tensor:
    """Return the numbers [B, *shape] of tf.random.stateless_* with algorithm Philox, float32.

    seeds: int64 [B, 2], on the host. distribution: "normal", N(0, 1), or "uniform" in [0, 1).
    """
    on_gpu = current_device() == "GPU"
    kernels = native_kernels("stateless_random", cuda=True) if on_gpu else None
    if kernels is None:
        return _plain_random(seeds, shape, distribution)
    return kernels.gansformer_stateless_random(seeds=seeds, shape=shape, distribution=distribution)


def _plain_random(seeds: tf.Tensor, shape: list[int], distribution: str) -> tf.Tensor:
    def draw(seed: tf.Tensor) -> tf.Tensor:
        with on_host():
            key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
        return SAMPLERS[distribution](shape=shape, key=key, counter=counter, alg=PHILOX)

    if seeds.shape[0] is None:
        return tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
    with on_host():
        seeds = tf.unstack(seeds)
    return tf.stack([draw(seed) for seed in seeds])  # without a graph's loop
