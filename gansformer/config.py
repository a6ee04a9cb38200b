"""Every option of the networks, with its default and what it means.

Defaults are those of the official command line without options, which is StyleGAN2. A GANformer
has `components` components, latents that belong to regions of the image, and one global latent of
the same size; a StyleGAN2 has one latent.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

from dnnlib.errors import UserError
from dnnlib.numbers import Count, CountOrZero, Finite, FiniteNumber, Fraction, Positive, WholeNumber

Activation = Literal[
    "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"
]
Positions = Literal["sinus", "linear", "trainable", "trainable2d"]
Ratio = Annotated[float, FiniteNumber(above=0, high=1)]
FeatureResolution = Annotated[int, WholeNumber(32, 2048)]
WHOLE_BATCH = 10**9  # a group of minibatch stddev that no batch fills

Log2 = Annotated[int, WholeNumber(2, 11)]


def _require(condition: bool, name: str, value, remedy: str) -> None:
    if not condition:
        raise UserError(f"{name}={value} {remedy}")


def _check_components(latent_size: Count, components: int) -> None:
    _require(components >= 1, "components", components, "is too few; at least 1 is needed")
    _require(
        latent_size > 0 and latent_size % components == 0,
        "latent_size",
        latent_size,
        f"does not divide into {components} components; "
        f"try {max(latent_size // components, 1) * components}",
    )


def _check_kernel(kernel: tuple[float, ...]) -> None:
    _require(
        sum(kernel) != 0, "resample_kernel", list(kernel), "must not sum up to 0; try [1, 3, 3, 1]"
    )


def _check_heads(heads: int) -> None:
    _require(heads >= 1, "heads", heads, "is too few; at least 1 is needed")


@dataclasses.dataclass(frozen=True)
class MappingConfig:
    """The network from z to w."""

    layers: Count = 8
    dim: Count | None = None  # width of the layers; none: that of w
    hidden_dim: Count | None = None  # of all layers but the last; none: the same (NVIDIA)
    lr_multiplier: Positive = 0.01
    activation: Activation = "lrelu"
    resnet: bool = False  # pairs of layers with a residual connection
    self_attention: bool = False  # between the components; needs resnet
    shared_dim: CountOrZero = 0  # > 0: one network of this width for all components together

    # What the PyTorch programs do in another way, see docs/fidelity.md#pytorch-checkpoints
    normalize_global: bool = False  # divide the global latent by its root mean square, too
    normalize_jointly: bool = False  # divide the components by one root mean square of them all
    self_attention_without_resnet: bool = False  # between the components, before each layer
    label_embedding_dim: CountOrZero = 0  # > 0: of the last latent only, normalised by itself

    def __post_init__(self):
        _require(
            self.layers >= (2 if self.resnet else 1),
            "mapping.layers",
            self.layers,
            "needs at least 2 with mapping.resnet, else 1",
        )
        _require(
            not (self.self_attention and self.shared_dim),
            "mapping.shared_dim",
            self.shared_dim,
            "excludes mapping.self_attention; set one of them only",
        )
        _require(
            self.hidden_dim is None or not (self.resnet or self.shared_dim),
            "mapping.hidden_dim",
            self.hidden_dim,
            "excludes mapping.resnet and mapping.shared_dim",
        )
        _require(
            not (self.self_attention_without_resnet and (self.resnet or self.shared_dim)),
            "mapping.self_attention_without_resnet",
            self.self_attention_without_resnet,
            "excludes mapping.resnet and mapping.shared_dim; use mapping.self_attention",
        )
        _require(
            not (self.label_embedding_dim and (self.resnet or self.shared_dim)),
            "mapping.label_embedding_dim",
            self.label_embedding_dim,
            "excludes mapping.resnet and mapping.shared_dim",
        )


@dataclasses.dataclass(frozen=True)
class LabelMappingConfig:
    """The discriminator's network from labels to a vector that its features are compared with."""

    layers: CountOrZero = 8
    dim: Count = 512  # of the result
    embedding_dim: Count = 512
    hidden_dim: Count = 512  # of all layers but the last
    lr_multiplier: Positive = 0.01
    activation: Activation = "lrelu"

    def __post_init__(self):
        _require(
            self.layers > 0 or self.dim == self.embedding_dim,
            "label_mapping.dim",
            self.dim,
            f"needs layers, or to be embedding_dim ({self.embedding_dim})",
        )


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """k-GAN: several images made separately up to one resolution, then merged into one."""

    layer: Log2 = 5  # log2 of the resolution after which the images are merged
    type: Literal["sum", "softmax", "max", "leaves"] = "softmax"
    same: bool = False  # one weight for an image instead of one for each of its positions


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """Generator: mapping and synthesis networks."""

    latent_size: Count = 512  # of all components together; one has latent_size / components
    components: Count = 1  # k: of a GANformer; images to merge (k-GAN); 1 for StyleGAN2
    w_dim: Count | None = None  # size of w per component; none: that of z
    channel_base: Count = (
        16384  # feature maps at 2^r pixels: min(channel_base / 2^(r-1), channel_max)
    )
    channel_max: Count = 512
    architecture: Literal["skip", "resnet", "orig"] = "skip"
    activation: Activation = "lrelu"
    resample_kernel: tuple[Finite, ...] = (1.0, 3.0, 3.0, 1.0)
    tanh: bool = False  # squash the RGB output
    style: bool = True  # the global latent modulates the convolutions
    latent_stem: bool = False  # the 4x4 stem is made from the latent instead of a constant
    noise: bool = True  # noise added after each convolution
    crop_ratio: Ratio | None = None  # height / width of a rectangular canvas

    attention: Literal["none", "simplex", "duplex"] = "none"
    duplex: Literal["code", "paper"] = "code"  # see docs/fidelity.md#duplex-attention
    heads: Count = 1
    integration: Literal["add", "mul", "both"] = "add"
    norm: Literal["none", "layer", "instance", "batch"] = "none"  # "batch" equals "layer"
    attention_dropout: Fraction = 0.0
    component_dropout: Fraction = 0.0
    component_gate: bool = False  # what a component sends is multiplied by a learned sigmoid
    image_gate: bool = False  # so is what a position receives
    start_res: CountOrZero = 0  # attention at grids of 2^r pixels with start_res <= r < end_res
    end_res: CountOrZero = 8
    kmeans_iterations: Count = 1  # in an attention layer (duplex=code)
    carry_centroids: bool = False  # k-means goes on in the next layer (duplex=code)
    component_to_component: bool = False  # components attend to one another, after the image
    image_to_component: bool = False  # components attend to the image, after that
    image_to_image: CountOrZero = 0  # positions attend to one another, at 2^image_to_image pixels
    component_embedding: bool = False  # learned positional encodings of the components
    position_type: Positions = "sinus"
    position_dim: Count | None = None  # none: w_dim
    position_init: Literal["uniform", "normal"] = "uniform"
    position_directions: Count = 2

    mapping: MappingConfig = MappingConfig()
    merge: MergeConfig | None = None

    # What the PyTorch programs do in another way, see docs/fidelity.md#pytorch-checkpoints
    stem_slice: bool = True  # the first slice of w belongs to the stem; else to the first layer
    extra_layer: bool | None = None  # 3x3 before the colours; none: with attention up to end_res
    layer_positions: bool = False  # each layer has learned positional encodings of its own
    folded_centroids: bool = False  # carried centroids start as two positions' queries each
    clamp: Positive | None = None  # features and colours are limited to -clamp ... clamp

    RENAMED: ClassVar[dict[str, str]] = {
        "latent_gate": "component_gate",
        "iterations": "kmeans_iterations",
        "iterative": "carry_centroids",
        "latent_to_latent": "component_to_component",
        "image_to_latent": "image_to_component",
    }

    def __post_init__(self):
        _check_components(self.latent_size, self.components)
        _check_heads(self.heads)
        _check_kernel(self.resample_kernel)
        _require(
            self.component_dim == self.z_dim
            or self.mapping.dim is not None
            or not (self.mapping.resnet or self.mapping.shared_dim),
            "w_dim",
            self.w_dim,
            f"differs from the size of z per component ({self.z_dim}); set mapping.dim too",
        )
        _require(
            self.has_attention or self.merge is not None or self.components == 1,
            "components",
            self.components,
            "needs attention (simplex or duplex) or merge; set one of them, or components=1",
        )
        _require(
            not (self.has_attention and self.merge),
            "merge",
            self.merge,
            "excludes attention; set attention=none",
        )
        _require(
            self.merge is None or self.architecture != "skip",
            "architecture",
            self.architecture,
            "cannot merge (k-GAN); use resnet or orig",
        )
        first = 4 ** max(self.start_res, 2)
        needed = first * self.heads / 2 if self.folded_centroids else first
        _require(
            not self.carry_centroids or self.attention != "duplex" or self.components == needed,
            "components",
            self.components,
            "does not fit carry_centroids: the first centroids are "
            f"image positions, so {needed:g} components are needed",
        )
        _require(
            not self.layer_positions or self.position_type == "trainable2d",
            "layer_positions",
            self.layer_positions,
            "needs position_type=trainable2d",
        )

        _require(
            self.duplex == "code" or self.attention == "duplex",
            "duplex",
            self.duplex,
            "needs attention=duplex",
        )
        _require(
            self.duplex == "code"
            or not (self.image_to_component or self.carry_centroids or self.kmeans_iterations > 1),
            "duplex",
            self.duplex,
            "has its own way from image to components and no k-means; leave out "
            "image_to_component, kmeans_iterations and carry_centroids",
        )

    @property
    def has_attention(self) -> bool:
        """Whether there are components and a global latent."""
        return self.attention != "none"

    @property
    def latents(self) -> int:
        """Number of latents K: the components, and the global one with attention."""
        return self.components + self.has_attention

    @property
    def z_dim(self) -> int:
        """Size of z per component."""
        return self.latent_size // self.components

    @property
    def component_dim(self) -> int:
        """Width of w, of each component."""
        return self.z_dim if self.w_dim is None else self.w_dim


@dataclasses.dataclass(frozen=True)
class ProjectedConfig:
    """What the projected discriminator sees, see projected_discriminator.py."""

    # Pixels at which features are computed; none: the images' own number, but 64 at least.
    resolution: FeatureResolution | None = None
    channels: Count = 32  # of the finest projected map

    def __post_init__(self):
        _require(
            self.resolution is None or self.resolution % 32 == 0,
            "projected.resolution",
            self.resolution,
            "is no multiple of 32, the stride of the coarsest features; use 64, 128 or 224",
        )


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """Discriminator; the names mean what they mean in the generator."""

    # projected: heads on pretrained features (Sauer et al. 2021); both: these and StyleGAN2's.
    kind: Literal["stylegan2", "projected", "both"] = "stylegan2"
    projected: ProjectedConfig = ProjectedConfig()
    latent_size: Count = 512  # of all components together
    components: Count = 1  # with attention: what gathers from the image (the paper's aggregators)
    channel_base: Count = 16384
    channel_max: Count = 512
    architecture: Literal["resnet", "skip", "orig"] = "resnet"
    activation: Activation = "lrelu"
    resample_kernel: tuple[Finite, ...] = (1.0, 3.0, 3.0, 1.0)
    crop_ratio: Ratio | None = None
    stddev_group: CountOrZero = 4  # images whose statistics are compared; 0: no such feature
    stddev_channels: Count = 1
    dense_dim: Count | None = None  # of the last hidden layer; none: feature maps at 2 pixels
    clamp: Positive | None = None  # features of convolutions are limited to -clamp ... clamp
    label_mapping: LabelMappingConfig | None = None  # none: one score for each label

    attention: bool = False
    heads: Count = 1
    attention_dropout: Fraction = 0.12
    component_gate: bool = False  # what a component sends is multiplied by a learned sigmoid
    image_gate: bool = False  # so is what a position receives
    start_res: CountOrZero = 0
    end_res: CountOrZero = 8
    component_to_image: bool = False
    component_to_component: bool = False
    image_to_image: CountOrZero = 0
    component_embedding: bool = False
    position_type: Positions = "sinus"
    position_dim: Count | None = None  # none: the size of a component
    position_init: Literal["uniform", "normal"] = "uniform"
    position_directions: Count = 2

    RENAMED: ClassVar[dict[str, str]] = {
        "latent_gate": "component_gate",
        "latent_to_image": "component_to_image",
        "latent_to_latent": "component_to_component",
    }

    def __post_init__(self):
        _check_components(self.latent_size, self.components)
        _check_heads(self.heads)
        _check_kernel(self.resample_kernel)

    @property
    def component_dim(self) -> int:
        """Width of one component."""
        return self.latent_size // self.components


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Both networks."""

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()

    def __post_init__(self):
        check_pair(self.generator, self.discriminator)


def check_pair(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> None:
    """Raise UserError if the two networks work on images of different shapes."""
    _require(
        generator.crop_ratio == discriminator.crop_ratio,
        "discriminator.crop_ratio",
        discriminator.crop_ratio,
        f"differs from generator.crop_ratio={generator.crop_ratio}; set both alike",
    )
