"""All images of a data set in order, one at a time."""

from collections.abc import Iterator

import numpy as np

from datasets.opening import RecordSet, locate_images
from dnnlib.errors import UserError
from dnnlib.image_files import ImageError, decode


def iterate_images(
    records: RecordSet, *, check: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (image [H, W, C] uint8, label [label_dim] float32).

    check: compare the checksum of every record. UserError at the first one that is not right.
    """
    counts = [len(file) for file in records.files]
    shards, places = locate_images(counts)
    for number, (shard, place) in enumerate(zip(shards, places, strict=True)):
        features = records.files[shard].read_features(place, check=check)
        try:
            image = _image(features, records)
            label = _label(features, records, number)
        except (ValueError, KeyError, TypeError, ImageError) as error:
            raise UserError(
                f"{records.files[shard].path}: record {place} is no image of this set ({error}); "
                "copy the file again or prepare the data set again"
            ) from error
        yield image, label


def _image(features: dict, records: RecordSet) -> np.ndarray:
    shape = (records.channels, records.resolution, records.resolution)
    if tuple(features["shape"]) != shape:
        raise ValueError(f"its shape is {list(features['shape'])}")
    if records.encoding == "png":
        image = np.asarray(decode(features["data"]))
        image = image.reshape(*image.shape[:2], -1)
    else:
        image = np.frombuffer(features["data"], np.uint8).reshape(shape).transpose(1, 2, 0)
    if image.shape != (records.resolution, records.resolution, records.channels):
        raise ValueError(f"its image is {list(image.shape)}")
    return image


def _label(features: dict, records: RecordSet, number: int) -> np.ndarray:
    if records.side_labels is not None:
        return records.side_labels[number]
    label = np.asarray(features.get("label", []), np.float32)
    if len(label) != len(records.label_names):
        raise ValueError(f"it has {len(label)} label values")
    return label
