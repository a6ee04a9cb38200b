"""All transforms that a configuration chooses, one after the other."""

import tensorflow as tf

from dnnlib.random_streams import RandomStream
from training.augmentation.affine import transform
from training.augmentation.blitting import blit, draw_blit
from training.augmentation.color import draw_recoloring, recolor
from training.augmentation.config import AugmentationConfig
from training.augmentation.corruption import add_noise, cut_out
from training.augmentation.diffaugment import jitter_colors, translate
from training.augmentation.filtering import draw_gains, filter_bands
from training.augmentation.geometric import draw_affine


def augment(
    images: tf.Tensor, stream: RandomStream, config: AugmentationConfig, p: tf.Tensor | float
) -> tf.Tensor:
    """Augment images float32 [B, H, W, C] in [-1, 1], each with its own random numbers.

    p: the probability of each transform, of ADA's; DiffAugment's always happen.
    Differentiable with respect to the images, to any order.
    """
    functions = _DIFFAUGMENT if config.mode == "diffaugment" else _ADA
    p = tf.convert_to_tensor(p, tf.float32)
    for name in config.chosen:
        images = functions[name](images, stream.fold(name), p)
    return images


def _blit(images, stream, p):
    return blit(images, draw_blit(stream, p, *images.shape[1:3]))


def _transform(images, stream, p):
    return transform(images, draw_affine(stream, p, *images.shape[1:3]))


def _recolor(images, stream, p):
    return _change_colors(images, lambda x: recolor(x, draw_recoloring(stream, p)))


def _change_colors(images, change):
    """Apply `change` to the colours [B, H, W, 1 or 3]; a fourth channel, alpha, stays as it is."""
    if images.shape[3] != 4:
        return change(images)
    return tf.concat([change(images[..., :3]), images[..., 3:]], axis=3)


def _filter(images, stream, p):
    return filter_bands(images, draw_gains(stream, p))


_ADA = {
    "blit": _blit,
    "geometric": _transform,
    "color": _recolor,
    "filter": _filter,
    "noise": add_noise,
    "cutout": cut_out,
}
_DIFFAUGMENT = {
    "color": lambda images, stream, p: _change_colors(images, lambda x: jitter_colors(x, stream)),
    "translation": lambda images, stream, p: translate(images, stream),
    "cutout": lambda images, stream, p: cut_out(images, stream, 1.0),
}
