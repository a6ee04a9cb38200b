"""What gives a picture its label."""

import numpy as np

from datasets.sources.item import Item


class Labeller:
    """Gives no labels; its kinds do. `names`: one for each value of the vector."""

    names: list[str] = []
    digest = ""  # of a table that is no part of the source

    def label(self, item: Item) -> np.ndarray | None:
        """Return the label [len(names)] float32; PictureError if this picture has none."""
        return None
