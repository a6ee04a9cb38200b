"""What gives an image its label."""

from collections.abc import Sequence

import numpy as np

from datasets.sources.item import Item


class Labeller:
    """Gives no labels; its kinds do. `names`: one for each value of the vector."""

    names: list[str] = []
    digest = ""  # of a table that is no part of the source
    remarks: Sequence[str] = ()  # what is not used of it

    def label(self, item: Item) -> np.ndarray | None:
        """Return the label [len(names)] float32; ImageError if this image has none."""
        return None
