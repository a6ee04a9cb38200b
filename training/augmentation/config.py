"""Options of augmentation: training.augmentation in a configuration."""

import dataclasses
from typing import Annotated, Literal

from dnnlib.errors import UserError, suggest
from dnnlib.numbers import FiniteNumber, Fraction, Positive

SignMean = Annotated[float, FiniteNumber(-1, 1)]
ADA = ("blit", "geometric", "color", "filter", "noise", "cutout")
TRANSFORMS = {  # in the order in which they happen
    "none": (),
    "ada": ADA,
    "fixed": ADA,
    "diffaugment": ("color", "translation", "cutout"),
}
DEFAULT_TRANSFORMS = {**TRANSFORMS, "ada": ADA[:3], "fixed": ADA[:3]}


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """What happens to every image, real or generated, before the discriminator sees it."""

    mode: Literal["none", "ada", "fixed", "diffaugment"] = "none"
    # Empty: those that its paper recommends: blit, geometric, color; all three of DiffAugment.
    transforms: tuple[str, ...] = ()
    p: Fraction = 0.0  # probability of each transform; with ada, its initial value
    target: SignMean = 0.6  # ada: mean sign of the scores of real images that p is adapted to
    ramp_kimg: Positive = 500.0  # ada: thousands of images in which p can go from 0 to 1

    def __post_init__(self):
        known = TRANSFORMS[self.mode]
        for name in self.transforms:
            if name not in known:
                hint = suggest(name, known) or f"; there are {', '.join(known) or 'none'}"
                raise UserError(
                    f"training.augmentation.transforms: {name} is not a transform of "
                    f"mode {self.mode}{hint}"
                )
        if self.mode == "fixed" and self.p == 0:
            raise UserError(
                "training.augmentation.mode=fixed with p=0 changes nothing; "
                "set training.augmentation.p, such as 0.3"
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The transforms that happen, in their order."""
        wanted = self.transforms or DEFAULT_TRANSFORMS[self.mode]
        return tuple(name for name in TRANSFORMS[self.mode] if name in wanted)
