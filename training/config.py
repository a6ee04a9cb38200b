"""Every option of a training run, with its default and what it means.

Defaults are those of the official command line without options.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from dnnlib.config import from_mapping, read_yaml, set_option
from dnnlib.errors import UserError
from dnnlib.numbers import (
    LARGEST,
    Count,
    CountOrZero,
    Finite,
    FiniteNumber,
    Fraction,
    Positive,
    PositiveOrZero,
    Seed,
    WholeNumber,
)
from gansformer.canvas import Canvas
from gansformer.config import DiscriminatorConfig, GeneratorConfig, check_pair
from gansformer.configurations import find_config
from training.augmentation.config import AugmentationConfig

Beta = Annotated[float, FiniteNumber(0, 0.999999)]  # the bias correction divides by 1 - beta^t
GridSize = Annotated[int, WholeNumber(1, 1000)]
Interval = Annotated[
    float, FiniteNumber(0.001, LARGEST)
]  # in thousands of images: one is the least


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How the data set is used."""

    resolution: Count = 256
    mirror: bool = False  # flip half of the real images left to right
    labels: bool = False  # train a conditional model


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Losses, optimiser and schedule."""

    preset: Literal["none", "auto"] = "none"  # auto: what is not set is chosen, see auto.py
    kimg: PositiveOrZero = 25000.0  # length of the run, in thousands of real images shown
    batch_size: Count = 32
    # Images at a time; gradients are summed up to batch_size. "auto": see choose_batch.
    batch_per_device: Count | Literal["auto"] = 4
    seed: Seed = 0

    generator_loss: Literal[
        "logistic", "logistic_ns", "hinge", "hinge_official", "wgan", "relativistic"
    ] = "logistic_ns"
    discriminator_loss: Literal["logistic", "hinge", "wgan", "relativistic"] = "logistic"
    regularizer: Literal["r1", "r2", "r1_r2", "gp", "none"] = "r1"  # r1_r2: their sum
    gamma: PositiveOrZero = 10.0  # weight of the regulariser
    feature_gamma: PositiveOrZero = 10.0  # that with respect to projected features
    regularizer_interval: Count = 16  # minibatches from one use of the regulariser to the next
    path_length_weight: PositiveOrZero = 0.0  # 2 in StyleGAN2; 0 in the official GANformer runs
    path_length_interval: Count = 4
    path_length_decay: Fraction = 0.01
    # Both networks learn from the same fakes, at once: G runs once for each minibatch, not twice.
    share_fakes: bool = False
    style_mixing: Fraction = 0.9  # probability
    component_mixing: Fraction = 0.0

    generator_lr: PositiveOrZero = 0.002
    discriminator_lr: PositiveOrZero = 0.002
    beta1: Beta = 0.0
    beta2: Beta = 0.99
    epsilon: Positive = 1e-8
    # The official code corrects G's optimiser for a lazy regulariser even when there is none.
    always_correct_generator: bool = True
    clip: Positive | None = None  # bound on the global norm of a gradient
    # With --precision bfloat16 or mixed_float16: how many resolutions, from the highest down, have
    # 16-bit feature maps (4 in StyleGAN2-ADA). None: all.
    resolutions_in_16_bit: Count | None = None
    ema_kimg: Positive = 10.0  # half-life of the moving average of G
    ema_rampup: Positive | None = None  # at first, the half-life is this part of the images shown
    # How many resolutions of the discriminator, from the highest down, are not trained (freeze-D,
    # Mo et al. 2020, for fine-tuning with --init-from).
    freeze_discriminator: CountOrZero = 0
    augmentation: AugmentationConfig = AugmentationConfig()  # for small data sets

    def __post_init__(self):
        if self.batch_per_device != "auto" and self.batch_size % self.batch_per_device:
            fitting = [n for n in range(1, self.batch_size + 1) if self.batch_size % n == 0]
            nearest = min(fitting, key=lambda n: abs(n - self.batch_per_device))
            raise UserError(
                f"training.batch_size={self.batch_size} does not divide into "
                f"training.batch_per_device={self.batch_per_device}; try {nearest}"
            )
        losses = (self.generator_loss, self.discriminator_loss)
        if losses.count("relativistic") == 1:
            raise UserError(
                "training.generator_loss and training.discriminator_loss are relativistic only "
                f"together, as two sides of one game; they are {' and '.join(losses)}"
            )
        if losses.count("relativistic") and self.augmentation.mode == "ada":
            raise UserError(
                "training.augmentation.mode=ada adapts to the signs of scores, which mean nothing "
                "with relativistic losses; use diffaugment or fixed"
            )


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """How often something is written, and what is kept."""

    RENAMED: ClassVar[dict[str, str]] = {
        "sheet_kimg": "grid_kimg",
        "sheet_columns": "grid_columns",
        "sheet_rows": "grid_rows",
    }

    tick_kimg: Interval = 8.0  # interval between two lines of statistics, in thousands of images
    grid_kimg: Interval = 24.0  # interval between two grids of sample images
    snapshot_kimg: Interval = 24.0  # interval between two snapshots (what sampling needs)
    checkpoint_minutes: PositiveOrZero = 15.0  # between two checkpoints (what training needs)
    keep_snapshots: Count = 10  # number of the newest snapshots that are kept
    keep_snapshot_every_kimg: PositiveOrZero = 0.0  # > 0: those at multiples of it are kept, too
    milestones_kimg: tuple[Interval, ...] = ()  # a grid and a snapshot at each, which is kept
    keep_checkpoints: Count = 2  # number of the newest checkpoints that are kept, beside the best
    keep_checkpoint_every_kimg: PositiveOrZero = 0.0  # > 0: the first after each multiple, too
    grid_columns: GridSize = 8
    grid_rows: GridSize = 6
    psi: Finite = 0.7  # truncation of the sample images


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Metrics during training."""

    metrics: str = ""  # such as fid10k,pr10k3; see evaluate.py --help. Empty: none
    every_kimg: Interval = 50.0


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A whole run."""

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    output: OutputConfig = OutputConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self):
        check_pair(self.generator, self.discriminator)
        if self.discriminator.kind != "stylegan2" and self.training.regularizer == "gp":
            raise UserError(
                "training.regularizer=gp has no meaning for projected features; use r1, r2 or "
                "r1_r2, or discriminator.kind=stylegan2"
            )
        canvas = Canvas(self.data.resolution, self.generator.crop_ratio)  # or UserError
        for name in ("generator", "discriminator"):
            base, least = getattr(self, name).channel_base, 2 ** (canvas.log2 - 1)
            if base < least:
                raise UserError(
                    f"{name}.channel_base={base} leaves no feature map at {canvas.resolution} "
                    f"pixels; use {least} or more"
                )
        freeze, most = self.training.freeze_discriminator, self.data.resolution.bit_length() - 3
        if not 0 <= freeze <= most:
            raise UserError(
                f"training.freeze_discriminator={freeze}: the discriminator has {most} resolutions "
                f"above 4x4; use 0 to {most}"
            )


def load_config(
    name: str | Path,
    assignments: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    run: str | Path | None = None,
    devices: int = 1,
) -> RunConfig:
    """Read a YAML file, given by path or by the name of one in configs/, and apply `a.b=value`s.

    data, run, devices: what training.preset auto looks at, see training.auto.complete.
    Raises UserError for a missing file, bad YAML, an unknown option or a wrong value.
    """
    options = read_options(name, assignments)
    if is_auto(options):
        from training.auto import complete  # needs TensorFlow

        options = complete(options, data=data, run=run, devices=devices)
    return from_mapping(RunConfig, options)


def read_options(name: str | Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the nested options that a YAML file and assignments give. Raises UserError."""
    options = read_yaml(find_config(name))
    for assignment in assignments:
        set_option(options, assignment, RunConfig)
    return options


def is_auto(options: dict[str, Any]) -> bool:
    """Return whether options that are not given are chosen for the data set and the devices."""
    training = options.get("training")
    return isinstance(training, dict) and training.get("preset") == "auto"
