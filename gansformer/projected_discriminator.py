"""Projected discriminator: small heads on the features of a fixed, pretrained network.

Sauer et al. (2021), "Projected GANs Converge Faster". A fixed network gives maps P_1 ... P_4 of an
image; a head D_l scores each of them, and each plays a game of its own (their Eq. 4):

    min over G, max over D_l of  sum over l of  E[log D_l(P_l(x))] + E[log(1 - D_l(P_l(G(z))))]

The network is EfficientNet-Lite0. Its maps of strides 4, 8, 16 and 32 are mixed by fixed random
weights (their section 3.2), so that a head cannot look at a few channels only. What differs from
the paper, for short runs (docs/training.md): features at the images' resolution; maps divided by
their standard deviation; heads without normalisation; and R1 with respect to the projected maps,
which keeps the heads from winning at once (training/phases.py).
"""

import math

import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.ops import resize_antialiased
from dnnlib.random_streams import RandomStream
from gansformer.canvas import Canvas
from gansformer.config import DiscriminatorConfig
from gansformer.discriminator import BaseDiscriminator, Discriminator
from gansformer.summary import shown
from gansformer.variables import Scope

BLOCKS = (2, 4, 10, 15)  # of EfficientNet-Lite0, whose outputs are the maps
STRIDES = (4, 8, 16, 32)
FEATURES = (24, 40, 112, 320)  # channels of the maps
# Their standard deviation, about the same for cartoons, renderings and photographs at 64 pixels.
DEVIATIONS = (8.0, 8.0, 6.5, 2.5)


class ProjectedDiscriminator(BaseDiscriminator):
    """Score images, one score for each head: high for real ones.

    beside: StyleGAN2's discriminator, which gives a score more (kind "both"), or None.
    """

    def __init__(
        self,
        config: DiscriminatorConfig,
        *,
        resolution: int,
        channels: int = 3,
        label_dim: int = 0,
        seed: int = 0,
        **options,
    ):
        """Make all variables but those of the pretrained network, which is loaded when it is used.

        options: of the discriminator beside it; projected maps and heads are float32.
        """
        super().__init__()
        image = {"resolution": resolution, "channels": channels, "label_dim": label_dim}
        self.config, self.channels, self.label_dim = config, channels, label_dim
        self.canvas = Canvas(resolution, config.crop_ratio)
        self.beside = None
        if config.kind == "both":
            self.beside = Discriminator(config, **image, seed=seed, **options)
        elif channels == 4:
            raise UserError(
                "discriminator.kind=projected does not see transparency; use both, or prepare the "
                "data with --channels rgb"
            )
        side = config.projected.resolution or max(resolution, 64)
        rows, columns = self.canvas.shape(resolution)
        self.feature_shape = (-(-side * rows // columns // 32) * 32, side)
        scope = Scope(seed) / "Projected"
        width = config.projected.channels
        widths = (width, width, 2 * width, 4 * width)
        self.mixing = _Mixing(scope, widths)
        self.heads = [
            _Head(
                scope / f"Head{stride}",
                tuple(size // stride for size in self.feature_shape),
                channels,
                most=4 * width,
                label_dim=label_dim,
            )
            for stride, channels in zip(STRIDES, widths, strict=True)
        ]
        # A bound method: as a module, the network would be one of the parts that are saved.
        self._block_outputs = None

    def load_features(self) -> None:
        """Load the pretrained network. Raises UserError if its package is not installed."""
        from metrics.networks.catalogue import load_efficientnet  # slow to import: Keras

        if self._block_outputs is None:
            with tf.init_scope():
                self._block_outputs = load_efficientnet().block_outputs

    def __call__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        batches: int = 1,
        random: RandomStream | None = None,
    ) -> tf.Tensor:
        """Return scores float32 [B, 4], or 5 with a discriminator beside, of images [B, H, W, C].

        images: in [-1, 1]. batches: how many the images are, for the discriminator beside.
        random: given in training, for dropout.
        """
        scores = self.score(self.project(images), labels)
        if self.beside is None:
            return scores
        beside = self.beside(images, labels, batches=batches, random=random)
        return tf.concat([beside, scores], axis=1)

    def project(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Return P_1 ... P_4 of images [B, H, W, C], from fine to coarse: [B, h, w, c] each."""
        self.load_features()
        images = (self.check_images(images) + 1) * 127.5
        if self.channels == 4:  # colours on white; the discriminator beside sees transparency
            images = 255 + (images[..., :3] - 255) * images[..., 3:] / 255
        images = tf.repeat(images, 3, axis=3) if self.channels == 1 else images
        if images.shape[1:3] != self.feature_shape:  # TensorFlow would resize them all the same
            images = resize_antialiased(images, self.feature_shape)
        outputs = self._block_outputs(images)
        return self.mixing([outputs[block] for block in BLOCKS])

    def score(self, maps: list[tf.Tensor], labels: tf.Tensor | None = None) -> tf.Tensor:
        """Return the score of each head [B, 4] for projected maps."""
        self.check_labels(labels)
        scores = [head(x) for head, x in zip(self.heads, maps, strict=True)]
        if self.label_dim:
            scores = [tf.reduce_sum(x * labels, axis=1, keepdims=True) for x in scores]
        return tf.concat(scores, axis=1)


class _Mixing(tf.Module):
    """Random mixing of the features: across channels, then across scales, Sauer et al. section 3.2.

    Its weights are fixed, and saved because they come from the seed.
    """

    def __init__(self, scope: Scope, widths: tuple[int, ...]):
        super().__init__()
        fixed = lambda part, name, n, inputs, outputs: _weight(  # noqa: E731
            scope / part, name, [n, n, inputs, outputs], gain=math.sqrt(2), trainable=False
        )
        self.across_channels = [
            fixed(f"Map{stride}", "channels", 1, features, width)
            for stride, features, width in zip(STRIDES, FEATURES, widths, strict=True)
        ]
        self.across_scales = [  # to a map from the next coarser one
            fixed(f"Map{stride}", "scales", 3, coarse, fine)
            for stride, fine, coarse in zip(STRIDES[:-1], widths[:-1], widths[1:], strict=True)
        ]

    def __call__(self, features: list[tf.Tensor]) -> list[tf.Tensor]:
        maps = [
            tf.nn.conv2d(x / deviation, kernel, 1, "SAME")
            for x, deviation, kernel in zip(features, DEVIATIONS, self.across_channels, strict=True)
        ]
        mixed = [maps[-1]]
        for x, kernel in zip(maps[-2::-1], self.across_scales[::-1], strict=True):
            coarse = tf.image.resize(mixed[0], x.shape[1:3])
            mixed.insert(0, (x + tf.nn.conv2d(coarse, kernel, 1, "SAME")) * math.sqrt(0.5))
        return mixed


class _Head(tf.Module):
    """From one map to its score.

    Convolutions halve it until it has at most 4 rows and columns; one over all of these is last.
    """

    def __init__(
        self, scope: Scope, shape: tuple[int, ...], channels: int, *, most: int, label_dim: int
    ):
        super().__init__()
        self.layers = []
        while max(shape) > 4:
            outputs = min(2 * channels, most)
            layer = scope / f"Conv{len(self.layers)}"
            self.layers.append(_HeadConv(layer, [4, 4, channels, outputs], stride=2))
            channels, shape = outputs, tuple(-(-size // 2) for size in shape)
        self.output = _HeadConv(scope / "Output", [*shape, channels, max(label_dim, 1)])

    @shown
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """x: [B, h, w, c] -> [B, 1], or a score for each label."""
        for layer in self.layers:
            x = math.sqrt(2) * tf.nn.leaky_relu(layer(x), 0.2)
        return self.output(x, padding="VALID")[:, 0, 0]


class _HeadConv(tf.Module):
    """Convolution whose weight is stored as it is used.

    Without the equalised learning rate, a step of Adam changes it 20 to 50 times as much: heads
    learn within minutes.
    """

    def __init__(self, scope: Scope, shape: list[int], stride: int = 1):
        super().__init__()
        self.stride = stride
        self.weight = _weight(scope, "weight", shape)
        self.bias = scope.full("bias", shape[-1:])

    def __call__(self, x: tf.Tensor, padding: str = "SAME") -> tf.Tensor:
        return tf.nn.conv2d(x, self.weight, self.stride, padding) + self.bias


def _weight(
    scope: Scope, name: str, shape: list[int], *, gain: float = 1.0, trainable: bool = True
) -> tf.Variable:
    """Make a kernel [h, w, inputs, outputs] that keeps variance, times gain^2."""
    return scope.normal(
        name, shape, std=gain / math.sqrt(math.prod(shape[:-1])), trainable=trainable
    )


def make_discriminator(
    config: DiscriminatorConfig, **options
) -> Discriminator | ProjectedDiscriminator:
    """Make the discriminator of the configured kind."""
    kind = Discriminator if config.kind == "stylegan2" else ProjectedDiscriminator
    return kind(config, **options)
