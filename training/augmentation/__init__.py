"""Augmentation of what the discriminator sees, for small data sets: ADA and DiffAugment."""
