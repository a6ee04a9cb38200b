"""Pictures that are not square: a rectangular canvas (crop_ratio), and padded squares (ratio)."""

import json

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

import datasets
import gansformer
from dnnlib.config import from_mapping
from dnnlib.errors import UserError
from gansformer.canvas import Canvas
from scripts.generate import main as generate
from scripts.prepare_data import main as prepare_data
from scripts.train import main as train
from tests.gansformer.conftest import TINY
from training.config import RunConfig, load_config
from training.measure.evaluation import DatasetImages, GeneratorImages
from training.phases import PhaseLosses
from training.state import TrainState
from training.step import TrainingStep

RUN = """
generator:
  latent_size: 32
  components: 4
  channel_base: 64
  channel_max: 16
  architecture: resnet
  attention: duplex
  integration: mul
  norm: layer
  mapping: {layers: 2, resnet: true}
  CROP
discriminator: {channel_base: 64, channel_max: 16, attention: true, CROP}
data: {resolution: 16, mirror: true}
training: {kimg: 0.016, batch_size: 8, batch_per_device: 8}
output: {tick_kimg: 0.016, grid_kimg: 0.016, snapshot_kimg: 0.016, grid_columns: 4, grid_rows: 2}
"""


@pytest.fixture(scope="module")
def wide_data(tmp_path_factory):
    """Pictures of 32 x 16 as padded squares: grey values grow with the row, the bands are black."""
    root = tmp_path_factory.mktemp("wide")
    (root / "pictures").mkdir()
    for number in range(12):
        rows = np.repeat(np.linspace(100, 200, 16)[:, None], 32, axis=1) + number
        picture = np.repeat(rows[..., None], 3, axis=2).astype(np.uint8)
        Image.fromarray(picture).save(root / "pictures" / f"{number:02d}.png")
    prepare_data(
        [str(root / "pictures"), "--out", str(root / "data"), "--resolution", "16"]
        + ["--ratio", "0.5", "--workers", "1"]
    )
    return root / "data"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("crop_ratio: 0.5", id="canvas", marks=pytest.mark.slow),
        pytest.param("", id="padded", marks=pytest.mark.slow),
    ],
)
def trained(request, wide_data, tmp_path_factory):
    """A run on the rectangular canvas, and one on the padded squares: (run, crop_ratio)."""
    root = tmp_path_factory.mktemp("run")
    text = RUN.replace(", CROP", f", {request.param}" if request.param else "")
    (root / "config.yaml").write_text(text.replace("CROP", request.param))
    arguments = ["--config", str(root / "config.yaml"), "--data", str(wide_data)]
    train([*arguments, "--run", str(root / "run")])
    return root / "run", 0.5 if request.param else None


def test_run_and_its_pictures(trained, tmp_path):
    run, crop_ratio = trained
    snapshot = gansformer.load(run)
    height = 8 if crop_ratio else 16
    assert snapshot.config.generator.crop_ratio == crop_ratio
    assert snapshot.details["ratio"] == 0.5
    assert snapshot.Gs.image_shape == snapshot.D.image_shape == (height, 16, 3)
    description = json.loads((next((run / "snapshots").iterdir()) / "config.json").read_text())
    assert description["generator"]["crop_ratio"] == crop_ratio
    sizes = {path.name: Image.open(path).size for path in (run / "samples").iterdir()}
    for name in ("reals", "fakes-init", "fakes-000000.016"):
        assert sizes[f"{name}.png"] == (64, 16)
    assert sizes["fakes-000000.016-attention.png"][1] == 8 * 8
    generate(["--model", str(run), "--out", str(tmp_path), "--num", "2", "--attention"])
    assert Image.open(tmp_path / "seed000000.png").size == (16, 8)
    assert Image.open(tmp_path / "attention.png").size[1] == 2 * 8
    reals = np.asarray(Image.open(run / "samples" / "reals.png"))
    assert reals.min() >= 95, "no black band is shown"


def test_metrics_compare_the_same_rows(trained, wide_data):
    run, crop_ratio = trained
    generator = gansformer.load(run).Gs
    dataset = datasets.open_dataset(wide_data)
    real = DatasetImages(dataset, canvas=generator.canvas)
    fake = GeneratorImages(generator, ratio=dataset.ratio)
    reals, fakes = (np.stack(list(pictures.images(4))) for pictures in (real, fake))
    assert reals.shape == fakes.shape
    if crop_ratio:
        assert reals.shape == (4, 8, 16, 3) and reals.min() >= 95
        assert real.preparation["crop_ratio"] == 0.5
    else:
        assert reals.shape == (4, 9, 16, 3)  # the official metrics keep one row of the band


def test_central_rows_of_the_real_pictures_are_shown_to_the_discriminator():
    config = from_mapping(RunConfig, yaml.safe_load(RUN.replace("CROP", "crop_ratio: 0.5")))
    step = TrainingStep(config, TrainState(config, channels=3, label_dim=0))
    squares = np.random.default_rng(0).integers(0, 256, [4, 16, 16, 3]).astype(np.uint8)
    losses = PhaseLosses(config, step.state, step.randomness, step.replicas)
    shown = losses.prepare(tf.constant(squares), tf.range(4, dtype=tf.int64)).numpy()
    central = squares[:, 4:12] * np.float32(2 / 255) - 1
    for image, expected in zip(shown, central, strict=True):
        flipped = np.abs(image - expected).max() > 1e-5
        np.testing.assert_allclose(image, expected[:, ::-1] if flipped else expected, atol=1e-6)


def test_attention_maps_have_the_shape_of_the_canvas():
    parts = {name: {**part, "crop_ratio": 0.5} for name, part in TINY.items()}
    generator, _ = gansformer.build(parts, resolution=16)
    z = tf.random.stateless_normal([2, 5, 8], [0, 0])
    out = generator(z, noise="const", return_attention=True)
    assert out.images.shape == (2, 8, 16, 3)
    sizes = [maps.shape[2:4] for maps in out.attention]
    assert sizes == [(2, 4), (4, 8), (4, 8), (8, 16), (8, 16)]


def test_what_is_refused():
    with pytest.raises(UserError, match="do not double; use 0.5"):
        Canvas(64, 0.75)
    with pytest.raises(UserError, match="differs from generator.crop_ratio=0.5"):
        load_config("cartoonset64-stylegan2", ["generator.crop_ratio=0.5"])
    with pytest.raises(UserError, match="differs from generator.crop_ratio"):
        gansformer.build({"discriminator": {"crop_ratio": 0.5}})
    assert load_config("cityscapes1024x2048").generator.crop_ratio == 0.5
    assert Canvas(2048, 0.5).shape(2048) == (1024, 2048)
