"""evaluate.py and evaluation during training: models, data sets and numbers brought together."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import datasets
import gansformer
from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from dnnlib.cli import run
from dnnlib.errors import UserError
from gansformer.generation import Sampler
from gansformer.snapshot import Snapshot, save_snapshot
from metrics.comparison import Comparison
from metrics.names import parse_metrics
from metrics.networks.catalogue import load_network
from metrics.networks.network import FeatureNetwork
from scripts.evaluate import main
from tests.golden_files import load
from tests.metrics.test_comparison import Memory, TinyNetwork, random_pictures
from training.measure.evaluation import (
    DatasetImages,
    EvaluationOptions,
    GeneratorImages,
    crop_metric_rows,
    evaluate_generator,
    evaluate_models,
    to_metric_uint8,
)

TINY = {
    "generator": {"latent_size": 8, "channel_base": 64, "channel_max": 8, "mapping": {"layers": 1}},
    "discriminator": {"channel_base": 64, "channel_max": 8},
}


@pytest.fixture(scope="module")
def networks():
    return gansformer.build(TINY, resolution=16, seed=3)


@pytest.fixture(scope="module")
def dataset_directory(tmp_path_factory):
    """30 pictures of 16 x 16, the useful part of which is 16 x 12 (ratio 0.75)."""
    source = tmp_path_factory.mktemp("source")
    random = np.random.default_rng(0)
    for number in range(30):
        small = random.integers(0, 256, [3, 4, 3], dtype=np.uint8)
        Image.fromarray(small).resize([16, 12]).save(source / f"{number:02d}.png")
    target = source.parent / "set"
    prepare(
        str(source),
        target,
        Preparation(resolution=16, crop="ratio", ratio=0.75),
        Order(),
        workers=1,
    )
    return target


@pytest.fixture
def run_directory(tmp_path, networks):
    generator, discriminator = networks
    config = gansformer.config.ModelConfig(generator.config, discriminator.config)
    for kimg in (5, 10):
        snapshot = Snapshot(config, kimg, Gs=generator, details={"ratio": 0.75})
        save_snapshot(snapshot, tmp_path / "run" / "snapshots" / f"{kimg:06d}")
    return tmp_path / "run"


@pytest.fixture
def comparison(tmp_path):
    comparison = Comparison(directory=tmp_path / "cache", report=lambda message: None)
    for name in ("inception", "vgg16"):
        comparison.networks[name] = FeatureNetwork(name, TinyNetwork(), f"digest of {name}")
    return comparison


def test_pixels_and_rows_are_the_official_ones():
    description, arrays = load("data/data")
    converted = to_metric_uint8(arrays["range/float"])
    np.testing.assert_array_equal(converted, arrays["range/convert_imgs_to_uint8"])
    cases = description["cases"]["crop_tensor"]["cases"]
    assert cases
    for case in cases:
        rows = np.broadcast_to(
            np.arange(case["width"])[:, None, None], [1, case["width"], case["width"], 1]
        )
        kept = crop_metric_rows(rows, case["ratio"])[0, :, 0, 0]
        assert (kept[0], kept[-1], len(kept)) == (
            case["first_row"],
            case["last_row"],
            case["rows"],
        )


def test_pictures_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="not finite"):
        to_metric_uint8(np.array([0.0, np.nan]))


def test_generator_pictures_are_those_of_the_seeds(networks):
    generator = networks[0]
    pictures = np.stack(list(GeneratorImages(generator, seed=5, ratio=0.75).images(11)))
    assert pictures.shape == (11, 13, 16, 3)
    expected = [out.images for _, out in Sampler(generator).batches(range(5, 16))]
    expected = np.clip(np.concatenate(expected) * 127.5 + 128, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(pictures, expected[:, 2:15])
    truncated = np.stack(list(GeneratorImages(generator, seed=5, psi=0.2).images(11)))
    assert np.abs(truncated.astype(int) - expected).max() > 0


def test_dataset_pictures_are_a_fixed_choice(dataset_directory):
    dataset = datasets.open_dataset(dataset_directory)
    everything = dataset.read(range(30))[0][:, 2:15]
    whole = np.stack(list(DatasetImages(dataset).images(50)))
    np.testing.assert_array_equal(whole, everything)
    part = np.stack(list(DatasetImages(dataset).images(10)))
    again = np.stack(list(DatasetImages(dataset).images(10)))
    np.testing.assert_array_equal(part, again)
    assert len(part) == 10 and not np.array_equal(part, everything[:10])
    mirrored = np.stack(list(DatasetImages(dataset, mirror=True).images(30)))
    flipped = [np.array_equal(m, e[:, ::-1]) for m, e in zip(mirrored, everything, strict=True)]
    kept = [np.array_equal(m, e) for m, e in zip(mirrored, everything, strict=True)]
    assert sum(flipped) + sum(kept) == 30 and 5 < sum(flipped) < 25


def test_during_training(networks, dataset_directory, comparison):
    dataset = datasets.open_dataset(dataset_directory)
    first = evaluate_generator(networks[0], dataset, "fid30,pr0.03k3,is30", comparison=comparison)
    expected = {"fid30", "pr0.03k3_precision", "pr0.03k3_recall", "is30", "is30_std"}
    assert set(first) == expected and all(isinstance(v, float) for v in first.values())
    again = evaluate_generator(networks[0], dataset, "fid30,pr0.03k3,is30", comparison=comparison)
    assert again == first
    fake = Memory(np.stack(list(GeneratorImages(networks[0], ratio=0.75).images(30))))
    by_hand = comparison.evaluate(parse_metrics("fid30"), DatasetImages(dataset), fake)
    assert by_hand["fid30"] == pytest.approx(first["fid30"], rel=1e-6)


def test_during_training_without_weights_is_a_user_error(networks, dataset_directory, tmp_path):
    dataset = datasets.open_dataset(dataset_directory)
    comparison = Comparison(from_file={"inception": tmp_path / "missing.pth"})
    with pytest.raises(UserError, match="weights of inception are needed"):
        evaluate_generator(networks[0], dataset, "fid30", comparison=comparison)


def test_a_conditional_generator_gets_labels_of_real_pictures(dataset_directory):
    class Labelled:
        """What is used of a data set with two classes, one of them three times as frequent."""

        count, label_dim = 8, 2

        def read(self, numbers):
            return None, np.eye(2, dtype=np.float32)[(np.asarray(numbers) % 4 == 0).astype(int)]

    generator, _ = gansformer.build(TINY, resolution=16, label_dim=2)
    pictures = GeneratorImages(generator, label_source=Labelled())
    made = np.stack(list(pictures.images(16)))
    labels = np.eye(2, dtype=np.float32)
    by_class = [
        np.concatenate([o.images for _, o in Sampler(generator).batches(range(16), rows)])
        for rows in (np.tile(labels[0], [16, 1]), np.tile(labels[1], [16, 1]))
    ]
    by_class = [to_metric_uint8(images) for images in by_class]
    classes = [[np.array_equal(m, c[i]) for c in by_class] for i, m in enumerate(made)]
    assert np.sum(classes, axis=0).tolist() == [12, 4]
    with pytest.raises(UserError, match="is conditional"):
        GeneratorImages(generator, label_source=datasets.open_dataset(dataset_directory))


def test_several_snapshots_give_a_curve_in_the_runs_own_file(
    run_directory, dataset_directory, comparison
):
    lines = []
    models = [str(path) for path in sorted((run_directory / "snapshots").iterdir())]
    evaluate_models(
        models,
        dataset_directory,
        parse_metrics("fid30"),
        comparison,
        EvaluationOptions(),
        show=lines.append,
    )
    text = (run_directory / "metrics.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["kimg"] for record in records] == [5, 10]
    assert [record["model"] for record in records] == models
    assert records[0]["metrics"] == records[1]["metrics"]  # the weights are the same
    dataset = datasets.open_dataset(dataset_directory)
    assert records[0]["real"] == {
        "digest": dataset.digest,
        "count": 30,
        "resolution": 16,
        "ratio": 0.75,
        "mirror": False,
    }
    assert records[0]["fake"]["seed"] == 0 and records[0]["fake"]["psi"] == 1.0
    assert records[0]["networks"] == {"inception": "digest of inception"}
    assert records[0]["versions"]["tensorflow"] == tf.__version__
    assert len(lines) == 2 and "fid30" in lines[0]


def test_other_peoples_pictures_against_a_data_set(tmp_path, dataset_directory, comparison):
    np.savez(tmp_path / "theirs.npz", random_pictures(30, 0))
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, image in enumerate(random_pictures(30, 0)):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    evaluate_models(
        [str(tmp_path / "theirs.npz"), str(folder)],
        dataset_directory,
        parse_metrics("fid30"),
        comparison,
        EvaluationOptions(out=tmp_path / "out.jsonl"),
        show=lambda line: None,
    )
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert records[0]["metrics"] == records[1]["metrics"] and records[0]["metrics"]["fid30"] > 0
    assert records[0]["fake"]["count"] == 30 and len(records[1]["fake"]["digest"]) == 64


def test_a_data_set_of_another_ratio_is_refused(run_directory, tmp_path, dataset_directory):
    other = tmp_path / "square"
    shutil.copytree(dataset_directory, other)
    manifest = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**manifest, "ratio": 1.0}))
    with pytest.raises(UserError, match="trained on images of ratio 0.75"):
        evaluate_models(
            [str(run_directory)], other, parse_metrics("fid9"), Comparison(), EvaluationOptions()
        )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--metrics", "fdi50k"], 'did you mean "fid"'),
        (["--from-file", "inceptoin=x"], "expected NETWORK=PATH"),
        (["--from-file", "inception=/nowhere/x.pth"], "weights of inception are needed"),
        (["--nmu", "3"], "did you mean"),
        (["--data", "/nowhere"], "does not exist"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(
    arguments, message, capsys, run_directory, dataset_directory
):
    start = ["--model", str(run_directory), "--data", str(dataset_directory), "--metrics", "fid30"]
    assert run(main, [*start, *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0]


def test_the_default_cache_is_where_weights_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSFORMER_CACHE", str(tmp_path))
    assert Comparison().directory == tmp_path / "metrics"
    (tmp_path / "metrics").mkdir()
    path = tmp_path / "metrics" / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"too short")
    with pytest.raises(UserError, match=f"{path}: .* 9 bytes instead of 95628359"):
        load_network("inception")
