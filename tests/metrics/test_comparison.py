"""From pictures to numbers: names, extraction, cache, files of pictures, refusals."""

import json
import time
import warnings
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dnnlib.errors import UserError
from metrics import frechet_distance, inception_score, kernel_distance, precision_recall
from metrics.comparison import Comparison
from metrics.extraction import Gaussian, Need, extract
from metrics.image_sources import open_images
from metrics.names import Metric, parse_metrics
from metrics.networks.network import FeatureNetwork


class TinyNetwork(tf.Module):
    """Five colour features of a picture; class probabilities from them."""

    dimensions = {"pool_3": 5, "probabilities": 5, "fc2": 5}
    preprocessing = "none"

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0)

    def __call__(self, images):
        self.calls.assign_add(tf.shape(images)[0])
        mean, deviation = tf.nn.moments(images / 255, [1, 2])
        features = tf.concat([mean, deviation[:, :2]], axis=1)
        return {
            "pool_3": features,
            "probabilities": tf.nn.softmax(9 * features),
            "fc2": features,
        }


class Memory:
    """Pictures from an array."""

    statistics = None
    preparation: dict = {}

    def __init__(self, array, digest="digest"):
        self.array, self.count, self.name, self.digest = array, len(array), "pictures", digest

    def images(self, count):
        yield from self.array[:count]


def random_pictures(count, seed, rows=6):
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, [count, 1, 1, 3])
    noise = random.normal(size=[count, rows, 5, 3]) * random.uniform(5, 60, [count, 1, 1, 1])
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def comparison(tmp_path):
    """A comparison whose networks are all tiny; what it reports is in `comparison.reports`."""
    reports = []
    comparison = Comparison(directory=tmp_path / "cache", report=reports.append)
    for name in ("inception", "vgg16", "efficientnet"):
        comparison.networks[name] = FeatureNetwork(name, TinyNetwork(), f"digest of {name}")
    comparison.reports = reports
    return comparison


def features_of(images, layer="pool_3"):
    return TinyNetwork()(tf.constant(images, tf.float32))[layer].numpy()


def test_names():
    parsed = parse_metrics("fid50k, is10k,pr50k3,dc2.5k,fd-efficientnet500,kid")
    assert parsed == [
        Metric("fid", 50000),
        Metric("is", 10000),
        Metric("pr", 50000, 3),
        Metric("dc", 2500, 5),
        Metric("fd-efficientnet", 500),
        Metric("kid", 50000),
    ]
    names = ["fid50k", "is10k", "pr50k3", "dc2.5k5", "fd-efficientnet500", "kid50k"]
    assert [metric.name for metric in parsed] == names
    assert parse_metrics(",".join(names)) == parsed  # names are read as they are written
    assert [m.name for m in parse_metrics("fid50k,pr50k5,fid10k", 1234)] == ["fid1234", "pr1.234k5"]
    assert [parse_metrics(m.name)[0].count for m in parse_metrics("fid,pr,kid", 1234)] == [1234] * 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("fdi50k", 'metric fdi50k is not known; did you mean "fid"'),
        ("fid-50k", "not known"),
        ("fid50k3", "fid has no neighbours"),
        ("fd-efficientnt10k", 'did you mean "fd-efficientnet"'),
        ("", "no metrics given"),
        ("fid1", "two images or more"),
        ("pr5k0", "needs 1 neighbour or more"),
    ],
)
def test_names_that_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_metrics(text)


def test_values_are_those_of_the_functions(comparison):
    real, fake = random_pictures(60, 0), random_pictures(50, 1)
    found = comparison.evaluate(
        parse_metrics("fid50,kid50,is50,pr0.05k3,dc0.05k5"), Memory(real), Memory(fake)
    )
    a, b = features_of(real[:50]), features_of(fake)
    fid = frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T))
    assert found.pop("fid50") == pytest.approx(fid, rel=1e-4)
    assert (found.pop("kid50"), found.pop("kid50_std")) == pytest.approx(kernel_distance(a, b))
    scores = inception_score(features_of(fake, "probabilities"))
    assert (found.pop("is50"), found.pop("is50_std")) == pytest.approx(scores, rel=1e-5)
    values = found.pop("pr0.05k3_precision"), found.pop("pr0.05k3_recall")
    assert values == precision_recall(a, b, k=3) and 0 < values[0] < 1
    assert sorted(found) == ["dc0.05k5_coverage", "dc0.05k5_density"]


def test_one_pass_through_each_network_for_all_metrics(comparison):
    comparison.evaluate(
        parse_metrics("fid40,kid40,is40"),
        Memory(random_pictures(40, 0)),
        Memory(random_pictures(40, 1)),
    )
    assert int(comparison.networks["inception"]._module.calls) == 80
    assert int(comparison.networks["vgg16"]._module.calls) == 0


def test_pictures_of_different_sizes_in_one_set():
    images = [*random_pictures(3, 0), *random_pictures(40, 1, rows=9), *random_pictures(2, 2)]
    need = Need("tiny", "pool_3", "features")
    found = extract(images, {"tiny": FeatureNetwork("tiny", TinyNetwork(), "")}, [need])[need]
    expected = np.concatenate([features_of(image[None]) for image in images])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_statistics_take_no_memory_for_pictures():
    """What is kept does not grow: every picture is released soon after it was made."""
    alive = 0

    class Tracked(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= self.base is not None

    def images():
        nonlocal alive
        most = 0
        for image in random_pictures(500, 0):
            alive += 1
            most = max(most, alive)
            yield image.copy().view(Tracked)
        assert most <= 3 * 32 + 2

    need = Need("tiny", "pool_3", "statistics")
    network = FeatureNetwork("tiny", TinyNetwork(), "")
    gaussian = extract(images(), {"tiny": network}, [need])[need]
    assert gaussian.count == 500


def test_reading_goes_on_while_the_network_works():
    class Slow(TinyNetwork):
        def __call__(self, images):
            tf.py_function(lambda: time.sleep(0.2), [], [])
            return super().__call__(images)

    def images():
        for number, image in enumerate(random_pictures(160, 0)):
            if number % 32 == 0:
                time.sleep(0.2)
            yield image

    network = FeatureNetwork("tiny", Slow(), "")
    network.features(random_pictures(2, 0))
    started = time.monotonic()
    extract(images(), {"tiny": network}, [Need("tiny", "pool_3", "statistics")])
    assert time.monotonic() - started < 1.7  # one after the other: 2.0 s


@pytest.mark.parametrize("before", [True, False])
def test_gpus_compute_in_full_float32_while_features_are_extracted(before):
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    seen = []

    def images():
        for image in random_pictures(40, 0):
            seen.append(enabled())
            yield image
        raise UserError("afterwards as before also after an error")

    original = enabled()
    tf.config.experimental.enable_tensor_float_32_execution(before)
    try:
        with pytest.raises(UserError):
            network = FeatureNetwork("tiny", TinyNetwork(), "")
            extract(images(), {"tiny": network}, [Need("tiny", "pool_3", "statistics")])
        assert seen == [False] * 40 and enabled() == before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(original)


def test_an_error_in_reading_comes_through():
    def images():
        yield from random_pictures(40, 0)
        raise UserError("a damaged picture")

    network = FeatureNetwork("tiny", TinyNetwork(), "")
    with pytest.raises(UserError, match="a damaged picture"):
        extract(images(), {"tiny": network}, [Need("tiny", "pool_3", "statistics")])


def test_cache_holds_until_something_that_matters_changes(comparison, tmp_path):
    module = comparison.networks["inception"]._module
    metrics, fake = parse_metrics("fid30,kid30"), Memory(random_pictures(30, 1))

    def evaluate(real, **changes):
        """With a new comparison, as in another process; return (values, real pictures seen)."""
        again = Comparison(
            directory=comparison.directory, report=comparison.report, networks=comparison.networks
        )
        for name, value in changes.items():
            setattr(again, name, value)
        before = int(module.calls)
        values = again.evaluate(metrics, real, fake)
        return values, int(module.calls) - before - 30

    first, seen = evaluate(Memory(random_pictures(30, 0)))
    assert seen == 30
    values, seen = evaluate(Memory(random_pictures(30, 0)))
    assert seen == 0 and values == first
    assert any(
        "using cached statistics of pictures, made 20" in line for line in comparison.reports
    )
    renamed = Memory(random_pictures(30, 0))
    renamed.name = "moved elsewhere"
    assert evaluate(renamed)[1] == 0
    assert evaluate(Memory(random_pictures(30, 0)), cache=False)[1] == 30
    other = Memory(random_pictures(30, 5), digest="other content")
    values, seen = evaluate(other)
    assert seen == 30 and values != first
    mirrored = Memory(random_pictures(30, 0))
    mirrored.preparation = {"mirror": True}
    assert evaluate(mirrored)[1] == 30
    comparison.networks["inception"].digest = "other weights"
    assert evaluate(Memory(random_pictures(30, 0)))[1] == 30


def test_cache_entries_are_readable_and_replaced_when_damaged(comparison):
    real, fake = Memory(random_pictures(30, 0)), Memory(random_pictures(30, 1))
    first = comparison.evaluate(parse_metrics("fid30"), real, fake)
    (entry,) = (comparison.directory / "statistics").iterdir()
    with np.load(entry) as arrays:
        description = json.loads(str(arrays["description"]))
        np.testing.assert_allclose(arrays["mu"], features_of(real.array).mean(0), rtol=1e-5)
    assert description["data_digest"] == "digest" and description["count"] == 30
    assert description["network_digest"] == "digest of inception"
    # The entry serves as stored statistics, here and in other programs.
    stored = open_images(entry)
    assert comparison.evaluate(parse_metrics("fid30"), stored, fake) == first
    entry.write_bytes(entry.read_bytes()[:100])
    again = Comparison(directory=comparison.directory, networks=comparison.networks)
    assert again.evaluate(parse_metrics("fid30"), real, fake) == first
    assert len(entry.read_bytes()) > 100


def test_refuses_fewer_pictures_than_features(comparison):
    few, many = Memory(random_pictures(5, 0)), Memory(random_pictures(50, 1))
    with pytest.raises(
        UserError, match="5 images of pictures cannot give a covariance of 5 .*--al"
    ):
        comparison.evaluate(parse_metrics("fid5"), many, many)
    with pytest.raises(UserError, match="cannot give a covariance"):
        comparison.evaluate(parse_metrics("fid50"), few, many)
    comparison.allow_small = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = comparison.evaluate(parse_metrics("fid5"), few, many)["fid5"]
    assert np.isfinite(value)
    assert any("covariance has rank 4 of 5" in line for line in comparison.reports)
    many = Memory(random_pictures(20, 1))
    assert comparison.evaluate(parse_metrics("is20"), many, many)  # needs no covariance


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        ("is19", 19, "10 splits need 20 images or more; pictures gives 19"),
        ("pr0.003k3", 3, "3 neighbours need more than 3 images; pictures gives 3"),
        ("dc0.005k5", 5, "5 neighbours need more than 5 images; pictures gives 5"),
        ("kid2", 2, "needs 3 images or more; pictures gives 2"),
        ("fid2", 1, "needs 2 images or more; pictures gives 1"),
    ],
)
def test_metrics_of_too_few_images_are_refused(comparison, name, count, words):
    images = Memory(random_pictures(count, 0))
    comparison.allow_small = True
    with pytest.raises(UserError, match=words):
        comparison.evaluate(parse_metrics(name), images, images)


def test_metrics_of_few_images_are_marked(comparison):
    images = Memory(random_pictures(50, 0))
    values = comparison.evaluate(parse_metrics("is50,kid50"), images, images)
    assert values["kid50_std"] > 0 and values["is50"] > 1
    for words in ("is50: splits of only 5 images", "kid50: subsets of only 12 images"):
        assert any(words in line for line in comparison.reports)


def test_a_cache_that_cannot_be_written_is_found_before_the_work(comparison, tmp_path):
    (tmp_path / "file").touch()
    comparison.directory, comparison.cache = tmp_path / "file", True
    real, fake = Memory(random_pictures(30, 0)), Memory(random_pictures(30, 1))
    assert comparison.evaluate(parse_metrics("fid30"), real, fake)
    assert "cannot be written; statistics of real images are not kept" in comparison.reports[0]


def test_transparency_is_seen_on_white(comparison):
    """An RGBA image counts as what is seen of it on white, and that is said."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, [30, 8, 8, 4], dtype=np.uint8)
    alpha = pixels[..., 3:] / 255
    white = np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    values = comparison.evaluate(parse_metrics("fid30"), Memory(white), Memory(pixels))
    assert values["fid30"] == pytest.approx(0, abs=1e-6)
    assert "pictures: images with transparency are compared on white" in comparison.reports


def test_says_what_is_not_comparable(comparison):
    real, fake = Memory(random_pictures(20, 0)), Memory(random_pictures(30, 1))
    comparison.evaluate(parse_metrics("fid30"), real, fake)
    assert "fid30: published values are of 50000 images" in comparison.reports
    assert "fid30: pictures has only 20 images" in comparison.reports
    with pytest.raises(UserError, match="has 30 images; use --num 30"):
        comparison.evaluate(parse_metrics("fid50k"), Memory(random_pictures(50, 0)), fake)


def test_missing_weights_are_told_before_anything_is_computed(tmp_path):
    class Untouched(Memory):
        def images(self, count):
            raise AssertionError("pictures were asked for")

    pictures = Untouched(random_pictures(9, 0))
    weights = {"inception": tmp_path / "nothing.pth"}
    with pytest.raises(UserError, match="no such file; the weights of inception are needed"):
        Comparison(from_file=weights).evaluate(parse_metrics("fid9"), pictures, pictures)


def test_folder(tmp_path, comparison):
    images = random_pictures(12, 0)
    for number, image in enumerate(images):
        path = tmp_path / "folder" / ("a" if number < 6 else "b") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "folder" / "readme.txt").write_text("no image")
    folder = open_images(tmp_path / "folder")
    assert folder.count == 12
    np.testing.assert_array_equal(np.stack(list(folder.images(12))), images)
    digest = folder.digest
    Image.fromarray(images[1]).save(tmp_path / "folder" / "a" / "00.png")
    assert open_images(tmp_path / "folder").digest != digest
    (tmp_path / "folder" / "a" / "03.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="03.png: not an image"):
        list(folder.images(12))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        open_images(tmp_path / "empty")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_pictures(save, tmp_path):
    images = random_pictures(12, 0)
    save(tmp_path / "a.npz", images)
    opened = open_images(tmp_path / "a.npz")
    assert opened.count == 12
    np.testing.assert_array_equal(np.stack(list(opened.images(12))), images)
    np.testing.assert_array_equal(np.stack(list(opened.images(5))), images[:5])


def test_stored_statistics_serve_the_frechet_distance_only(tmp_path, comparison):
    real, fake = features_of(random_pictures(50, 0)), Memory(random_pictures(50, 1))
    np.savez(tmp_path / "stats.npz", mu=real.mean(0), sigma=np.cov(real.T))
    stored = open_images(tmp_path / "stats.npz")
    found = comparison.evaluate(parse_metrics("fid50,is50"), stored, fake)
    b = features_of(fake.array)
    expected = frechet_distance(real.mean(0), np.cov(real.T), b.mean(0), np.cov(b.T))
    assert found["fid50"] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(UserError, match="holds statistics, for Frechet only"):
        comparison.evaluate(parse_metrics("kid50"), stored, fake)
    np.savez(tmp_path / "other.npz", mu=np.zeros(7), sigma=np.eye(7))
    with pytest.raises(UserError, match="7 features; inception has 5: .* another network"):
        comparison.evaluate(parse_metrics("fid50"), open_images(tmp_path / "other.npz"), fake)


def test_other_npz_files_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
    with pytest.raises(UserError, match="neither arr_0 .* but pictures"):
        open_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", np.zeros([4, 8, 8, 3]))
    with pytest.raises(UserError, match="not uint8"):
        open_images(tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("mu.npy", b"no array")
        archive.writestr("sigma.npy", b"no array")
    with pytest.raises(UserError, match="no npz file"):
        open_images(tmp_path / "e.npz")
    (tmp_path / "c.npz").write_bytes(b"<html>")
    with pytest.raises(UserError, match="no npz file"):
        open_images(tmp_path / "c.npz")
    with pytest.raises(UserError, match="does not exist"):
        open_images(tmp_path / "d.npz")


def test_extract_returns_gaussians():
    images = random_pictures(70, 0)
    need = Need("tiny", "pool_3", "statistics")
    found = extract(images, {"tiny": FeatureNetwork("tiny", TinyNetwork(), "")}, [need])[need]
    assert isinstance(found, Gaussian) and found.count == 70
    np.testing.assert_allclose(found.covariance, np.cov(features_of(images).T), atol=1e-6)
