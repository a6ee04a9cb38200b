"""How two data sets differ, image by image."""

from pathlib import Path

import numpy as np

from datasets.opening import RecordSet, open_records
from datasets.tools.iteration import iterate_images
from dnnlib.errors import UserError
from dnnlib.progress import track


def compare(first: Path, second: Path, *, resolution: int | None = None) -> str:
    """Return how the images and labels with the same numbers differ.

    UserError if the two sets cannot be compared.
    """
    sets = [open_records(first, resolution), open_records(second, resolution)]
    for what in ("resolution", "channels"):
        values = [getattr(each, what) for each in sets]
        if values[0] != values[1]:
            raise UserError(
                f"{first} and {second} cannot be compared: {what} {values[0]} and {values[1]}"
            )
    return "\n".join(_compare(*sets))


def _compare(first: RecordSet, second: RecordSet) -> list[str]:
    counts = [sum(len(file) for file in each.files) for each in (first, second)]
    common = min(counts)
    same = same_labels = 0
    largest, total = 0, 0.0
    pairs = zip(iterate_images(first), iterate_images(second), strict=False)
    for (image, label), (other, other_label) in track(pairs, label="comparing", total=common):
        difference = np.abs(image.astype(np.int16) - other)
        same += not difference.any()
        largest = max(largest, int(difference.max()))
        total += float(difference.mean())
        same_labels += np.array_equal(label, other_label)
    return [
        f"images      {counts[0]:,} and {counts[1]:,}",
        f"identical   {same:,} of {common:,}",
        f"difference  mean {total / common:.4f}, largest {largest} (of 255)",
        f"labels      {same_labels:,} of {common:,} the same",
        f"names       {'the same' if first.label_names == second.label_names else 'different'}",
    ]
