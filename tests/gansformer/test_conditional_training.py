"""A conditional duplex GANformer, trained from the command line, makes what it is asked for."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from datasets.demo import DEMO_ARCHIVE
from scripts.generate import main as generate
from scripts.prepare_data import main as prepare_data
from scripts.train import main as train

KINDS = ("inverted", "plain")
CONFIG = """
generator:
  latent_size: 64
  components: 4
  channel_base: 512
  channel_max: 64
  architecture: resnet
  attention: duplex
  integration: mul
  norm: layer
  component_embedding: true
  mapping: {layers: 4, resnet: true, self_attention: true}
discriminator: {channel_base: 512, channel_max: 64}
data: {resolution: 16, labels: true}
training:
  kimg: 5
  batch_size: 16
  batch_per_device: 16
  gamma: 0.1
  generator_lr: 0.0025
  discriminator_lr: 0.0025
  ema_kimg: 0.2
output: {tick_kimg: 0.5, grid_kimg: 5, snapshot_kimg: 5}
"""


def write_pictures(root) -> None:
    """Cartoons as they are, and the same with all colours inverted, one folder each."""
    with zipfile.ZipFile(DEMO_ARCHIVE) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
        for number, name in enumerate(names):
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((16, 16))
            for kind, made in zip(KINDS, (ImageOps.invert(picture), picture), strict=True):
                (root / kind).mkdir(parents=True, exist_ok=True)
                made.save(root / kind / f"{number:04d}.png")


def read_pictures(folder) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path), float) for path in sorted(folder.glob("*.png"))])


def classify(pictures: np.ndarray, means: list[np.ndarray]) -> np.ndarray:
    """Return for each picture the kind whose mean picture is nearer, 0 or 1."""
    distances = [np.square(pictures - mean).sum(axis=(1, 2, 3)) for mean in means]
    return np.argmin(distances, axis=0)


@pytest.mark.slow
def test_asked_kind_is_made(tmp_path):
    write_pictures(tmp_path / "pictures")
    data, run, config = tmp_path / "data", tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(CONFIG)
    prepare_data(
        [str(tmp_path / "pictures"), "--out", str(data), "--resolution", "16"]
        + ["--labels", "folders", "--workers", "1"]
    )
    train(
        ["--config", str(config), "--data", str(data), "--run", str(run)]
        + ["--precision", "bfloat16"]
    )
    reals = [read_pictures(tmp_path / "pictures" / kind) for kind in KINDS]
    means = [pictures.mean(axis=0) for pictures in reals]
    for kind, name in enumerate(KINDS):
        assert np.mean(classify(reals[kind], means) == kind) > 0.99, "the classifier is of use"
        out = tmp_path / name
        generate(
            ["--model", str(run), "--out", str(out), "--num", "200", "--psi", "1"]
            + ["--label", name]
        )
        made = read_pictures(out)
        share = np.mean(classify(made, means) == kind)
        print(f"{name}: {share:.1%} of {len(made)} samples are of the asked kind")
        assert share > 0.95
        assert made.std(axis=0).mean() > 5, "the samples differ from one another"
