"""Paint what each transform does: python docs/augmentation/transforms.py DATA OUT.png

DATA: a prepared data set. The first column is the picture, the others what the transform of the row
makes of it at p = 1; the last rows are the pipeline of ADA at p = 0.2 and 0.8, and DiffAugment.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import datasets  # noqa: E402
from dnnlib.images import save_image  # noqa: E402
from dnnlib.random_streams import RandomStream  # noqa: E402
from gansformer.grids import make_grid  # noqa: E402
from training.augmentation.config import ADA, AugmentationConfig  # noqa: E402
from training.augmentation.pipeline import augment  # noqa: E402

COLUMNS = 8


def main(data: Path, out: Path) -> None:
    picture = datasets.open_dataset(data).read([7])[0][0]
    images = np.repeat(picture[None].astype(np.float32) / 127.5 - 1, COLUMNS - 1, axis=0)
    rows = [(AugmentationConfig("ada", transforms=(name,)), 1.0) for name in ADA]
    rows += [(AugmentationConfig("ada"), 0.2), (AugmentationConfig("ada"), 0.8)]
    rows += [(AugmentationConfig("diffaugment"), 1.0)]
    stream = RandomStream("figure", tf.range(COLUMNS - 1, dtype=tf.int64))
    tiles = []
    for config, p in rows:
        augmented = augment(images, stream, config, p).numpy()
        tiles += [picture[None], np.clip(np.rint((augmented + 1) * 127.5), 0, 255)]
    save_image(make_grid(np.concatenate(tiles).astype(np.uint8), COLUMNS), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
