"""Path length: paths of a generator that is known exactly, and the whole way from a snapshot."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import gansformer
from dnnlib.errors import UserError
from dnnlib.random_streams import RandomStream
from metrics import perceptual_path_length
from metrics.comparison import Comparison
from metrics.names import parse_metrics
from metrics.networks.network import FeatureNetwork
from metrics.path_length import EPSILON, LatentPath
from tests.metrics.test_comparison import Memory, random_pictures
from tests.metrics.test_evaluation import TINY
from training.measure.evaluation import GeneratorImages
from training.measure.paths import PathSampler, crop_face, interpolate_spherically, shrink


class LinearGenerator:
    """Pictures 8 x 8 that are a linear function of w, which is one of z."""

    config = SimpleNamespace(latents=2, z_dim=6)

    def __init__(self):
        random = np.random.default_rng(0)
        self.to_w = random.normal(size=[6, 5]).astype(np.float32)
        self.to_image = random.normal(size=[2 * 3 * 5, 8 * 8 * 3]).astype(np.float32)

    def mapping(self, z, labels):
        return tf.repeat((z @ self.to_w)[:, :, None], 3, axis=2)  # [B, 2, 3, 5]

    def truncate(self, w, *, psi):
        return psi * w

    def synthesis(self, w, *, noise, seed):
        images = tf.reshape(w, [-1, 2 * 3 * 5]) @ self.to_image
        return SimpleNamespace(images=tf.reshape(images, [-1, 8, 8, 3]))


def draws(seeds):
    """The ends of the paths and the places on them, in float64."""
    stream = RandomStream("path", tf.constant(list(seeds), tf.int64))
    ends = [
        stream.fold(side).normal([2, 6]).numpy().astype(np.float64) for side in ("start", "end")
    ]
    return *ends, stream.fold("t").uniform([1, 1]).numpy().astype(np.float64)


def speeds(generator, path, psi=1.0):
    """(picture at t + epsilon - picture at t) / epsilon of 11 paths."""
    sampler = PathSampler(generator, path, psi=psi, noise="const")
    pairs = list(sampler.pairs(range(5, 16)))
    assert [len(first) for first, _ in pairs] == [8, 3]
    first, second = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    return first, (second - first) / EPSILON


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_paths_in_w_are_straight(sampling):
    generator = LinearGenerator()
    start, end, t = draws(range(5, 16))
    first, speed = speeds(generator, LatentPath("w", sampling, face=False), psi=0.5)

    def picture(z):
        w = np.repeat((0.5 * z @ generator.to_w)[:, :, None], 3, axis=2)
        return 127.5 * (w.reshape(11, -1) @ generator.to_image).reshape(11, 8, 8, 3)

    at = t if sampling == "full" else 0 * t
    np.testing.assert_allclose(first, 127.5 + picture(start + at * (end - start)), atol=2e-2)
    expected = picture(end - start)
    assert np.abs(speed - expected).max() < 0.02 * np.abs(expected).max()  # float32 pictures


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_paths_in_z_turn_at_constant_speed_at_the_usual_distance(sampling):
    generator = LinearGenerator()
    generator.to_image = np.eye(30, 8 * 8 * 3, dtype=np.float32)  # w can be read off the picture
    start, end, t = draws(range(5, 16))
    first, speed = speeds(generator, LatentPath("z", sampling, face=False))
    generator_w = lambda x: x.reshape(11, -1)[:, :30].reshape(11, 2, 3, 5)[:, :, 0]  # noqa: E731
    unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)  # noqa: E731
    angle = np.arccos((unit(start) * unit(end)).sum(-1, keepdims=True))  # [11, 2, 1]
    at = (t if sampling == "full" else 0 * t) * angle
    weights = np.sin(angle - at) / np.sin(angle), np.sin(at) / np.sin(angle)
    z = np.sqrt(6) * (weights[0] * unit(start) + weights[1] * unit(end))
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), np.sqrt(6), rtol=1e-9)
    np.testing.assert_allclose(generator_w((first - 127.5) / 127.5), z @ generator.to_w, atol=1e-4)
    slopes = -np.cos(angle - at) / np.sin(angle), np.cos(at) / np.sin(angle)
    turn = np.sqrt(6) * angle * (slopes[0] * unit(start) + slopes[1] * unit(end))
    expected = turn @ generator.to_w
    found = generator_w(speed / 127.5)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_spherical_interpolation():
    x, y = tf.constant([2.0, 0, 0]), tf.constant([0, 5.0, 0])
    halfway = interpolate_spherically(x, y, tf.constant([0.5]))
    np.testing.assert_allclose(halfway, [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-6)


def test_the_face_and_what_is_shrunk():
    rows, columns = np.indices([1024, 1024], np.float32)
    images = np.stack([rows, columns, rows], axis=-1)[None]
    face = crop_face(images)
    assert face.shape == (1, 512, 512, 3)
    assert (face[0, 0, 0, 0], face[0, 0, 0, 1]) == (384, 256)
    small = shrink(tf.constant(face)).numpy()
    assert small.shape == (1, 256, 256, 3)
    np.testing.assert_allclose(small, face.reshape(1, 256, 2, 256, 2, 3).mean(axis=(2, 4)))
    assert shrink(images[:, :300, :300]).shape == (1, 300, 300, 3)


class Pixels(tf.Module):
    """The picture itself as embedding: the path length is the generator's squared speed."""

    dimensions: dict = {}
    preprocessing = "none"

    def __call__(self, images):
        return {"embedding": tf.reshape(images, [tf.shape(images)[0], -1])}


@pytest.fixture
def comparison(tmp_path):
    comparison = Comparison(directory=tmp_path, report=lambda message: None)
    comparison.networks["lpips"] = FeatureNetwork("lpips", Pixels(), "digest")
    return comparison


def test_path_length_of_a_generator(comparison):
    generator, _ = gansformer.build(TINY, resolution=8, seed=3)
    fake, real = GeneratorImages(generator, seed=5), Memory(random_pictures(3, 0))
    metrics = parse_metrics("ppl2_wend12,ppl_wend12")
    values = comparison.evaluate(metrics, real, fake)
    pairs = fake.pairs(12, metrics[0].kind.path)
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    # With t = 0 the first picture of a pair is that of w of the start, from the same noise.
    seeds = tf.range(5, 17, dtype=tf.int64)
    latents = generator.config
    start = RandomStream("path/start", seeds).normal([latents.latents, latents.z_dim])
    expected = (generator(start, seed=seeds).images.numpy() + 1) * 127.5
    np.testing.assert_allclose(first, expected, atol=2e-3)
    distances = np.sort(((second - first).astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    assert values["ppl2_wend12"] == pytest.approx(distances.mean() / EPSILON**2, rel=1e-4)
    face = (second - first)[:, 3:7, 2:6].astype(np.float64)
    face = (face**2).sum(axis=(1, 2, 3))
    assert values["ppl_wend12"] == pytest.approx(face.mean() / EPSILON**2, rel=1e-4)


def test_smaller_steps_give_the_same_speed():
    """Noise is the same at both ends: otherwise the speed would grow without bound."""
    generator, _ = gansformer.build(TINY, resolution=8, seed=3)
    sampler = PathSampler(generator, LatentPath("w", "end", False), psi=1.0, noise="random")
    (first, second) = next(sampler.pairs(range(8)))
    seeds = tf.range(8, dtype=tf.int64)
    shape = [generator.config.latents, generator.config.z_dim]
    ends = [RandomStream(f"path/{side}", seeds).normal(shape) for side in ("start", "end")]
    w, towards = (generator.mapping(z) for z in ends)
    near = (
        generator.synthesis(w + 0.01 * (towards - w), seed=seeds).images
        - generator.synthesis(w, seed=seeds).images
    )
    ours, theirs = np.ravel(second - first) / EPSILON, np.ravel(near) * 127.5 / 0.01
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98


def test_pictures_have_no_path_length(comparison):
    pictures = Memory(random_pictures(3, 0))
    with pytest.raises(UserError, match="ppl2_wend12 needs a generator"):
        comparison.evaluate(parse_metrics("ppl2_wend12"), pictures, pictures)


def test_path_length_leaves_out_the_extremes():
    distances = np.random.default_rng(3).normal(size=200) ** 2
    kept = np.sort(distances)
    for discard, part in ((0, kept), (0.01, kept[1:199]), (0.1, kept[19:181])):
        value = perceptual_path_length(distances, epsilon=1e-3, discard=discard)
        assert value == pytest.approx(part.mean() * 1e6, rel=1e-9)
    with pytest.raises(ValueError, match="expected distances"):
        perceptual_path_length(distances[None])
