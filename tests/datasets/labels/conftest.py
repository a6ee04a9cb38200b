"""Sources whose images have labels."""

import numpy as np
import pytest

import datasets
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare

SMALL = Preparation(resolution=8)


VARIANTS = {"eye_angle": 3, "face_shape": 7, "facial_hair": 15, "hair": 111, "glasses": 12}


@pytest.fixture
def cartoons(pictures, tmp_path):
    """Cartoon Set's layout: csX.png and csX.csv, in the exact format of its attribute files."""
    folder = tmp_path / "cartoonset10k"
    folder.mkdir()
    values = {}
    random = np.random.RandomState(0)
    for number, path in enumerate(sorted(pictures.rglob("*.webp"))):
        name = f"cs{10**17 + number}"
        (folder / f"{name}.png").write_bytes(path.read_bytes())
        chosen = {key: random.randint(n) for key, n in VARIANTS.items()}
        lines = [f'"{key}", {chosen[key]}, {n}' for key, n in VARIANTS.items()]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        values[name] = chosen
    return folder, values


def labels_of(source, out, labels):
    prepare(str(source), out, SMALL, Order(labels=labels, shards=3), workers=1)
    dataset = datasets.open_dataset(out)
    return dataset, dataset.read(range(dataset.count))[1]


@pytest.fixture
def flat(pictures, tmp_path):
    folder = tmp_path / "flat"
    for number, path in enumerate(sorted(pictures.rglob("*.webp"))[:6]):
        (folder / "in").mkdir(parents=True, exist_ok=True)
        (folder / "in" / f"p{number}.png").write_bytes(path.read_bytes())
    return folder
