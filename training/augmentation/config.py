"""Options of augmentation: training.augmentation in a configuration."""

import dataclasses
from typing import Literal

from dnnlib.errors import UserError, suggest

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
    p: float = 0.0  # probability of each transform; with ada, its initial value
    target: float = 0.6  # ada: mean sign of the scores of real images that p is adapted to
    ramp_kimg: float = 500.0  # ada: thousands of images in which p can go from 0 to 1

    def __post_init__(self):
        known = TRANSFORMS[self.mode]
        for name in self.transforms:
            if name not in known:
                hint = suggest(name, known) or f"; there are {', '.join(known) or 'none'}"
                raise UserError(
                    f"training.augmentation.transforms: {name} is not a transform of "
                    f"mode {self.mode}{hint}"
                )
        if not 0 <= self.p <= 1:
            raise UserError(f"training.augmentation.p={self.p:g} is not a probability; use 0 to 1")
        if self.mode == "fixed" and self.p == 0:
            raise UserError(
                "training.augmentation.mode=fixed with p=0 changes nothing; "
                "set training.augmentation.p, such as 0.3"
            )
        if self.ramp_kimg <= 0:
            raise UserError(
                f"training.augmentation.ramp_kimg={self.ramp_kimg:g} must be above 0; try 500"
            )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The transforms that happen, in their order."""
        wanted = self.transforms or DEFAULT_TRANSFORMS[self.mode]
        return tuple(name for name in TRANSFORMS[self.mode] if name in wanted)
