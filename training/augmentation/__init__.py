"""Augmentation of what the discriminator sees, for small data sets: ADA and DiffAugment."""

from training.augmentation.adaptation import AdaptiveProbability
from training.augmentation.config import AugmentationConfig
from training.augmentation.pipeline import augment

__all__ = ["AdaptiveProbability", "AugmentationConfig", "augment"]
