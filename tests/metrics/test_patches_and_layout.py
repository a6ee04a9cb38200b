"""The metrics that need no weights: sliced Wasserstein distance of patches, and the layout."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats

from dnnlib.errors import UserError
from metrics import sliced_wasserstein_distance
from metrics.comparison import Comparison
from metrics.image_sources import StoredStatistics
from metrics.laplacian import laplacian_pyramid
from metrics.names import parse_metrics
from metrics.networks.pixels import Layout, PatchDescriptors
from tests.metrics.test_comparison import Memory


def blurred_noise(count, shape, seed, width=2.0):
    """Images uint8 [N, H, W, C] with structure at several scales."""
    noise = np.random.default_rng(seed).normal(size=[count, *shape])
    smooth = scipy.ndimage.gaussian_filter(noise, [0, width, width, 0])
    values = 128 + 40 * smooth / smooth.std() + 10 * noise
    return np.clip(values, 0, 255).astype(np.uint8)


def scipy_pyramid(image):
    """The levels of one image [H, W, C], by convolutions with the 5x5 kernel in float64."""
    line = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(line, line)[..., None]
    blur = lambda x, scale=1: scipy.ndimage.convolve(x, scale * kernel, mode="mirror")  # noqa: E731
    image, levels = image.astype(np.float64), []
    while min(image.shape[:2]) > 30:
        smaller = blur(image)[::2, ::2]
        spread = np.zeros_like(image)
        spread[::2, ::2] = smaller
        levels.append(image - blur(spread, 4))
        image = smaller
    return [*levels, image]


@pytest.mark.parametrize(
    "shape, sizes",
    [
        ((64, 64, 3), [(64, 64), (32, 32), (16, 16)]),
        ((33, 64, 3), [(33, 64), (17, 32)]),  # rows as the official metrics crop them
        ((47, 31, 1), [(47, 31), (24, 16)]),
        ((20, 90, 3), [(20, 90)]),
    ],
)
def test_pyramid_is_scipys(shape, sizes):
    images = blurred_noise(3, shape, seed=1)
    levels = laplacian_pyramid(images)
    assert [level.shape[1:3] for level in levels] == sizes
    for number, image in enumerate(images):
        for level, expected in zip(levels, scipy_pyramid(image), strict=True):
            np.testing.assert_allclose(level[number], expected, atol=1e-4)


def test_distance_is_the_plain_one():
    """Against SciPy's Wasserstein distance of each projection of normalised patches."""
    random = np.random.default_rng(0)
    real = random.normal(3, [1, 2, 5], [400, 49, 3])
    fake = random.gamma(2, [[1, 1, 1]], [400, 49, 3])
    fake[:, :9] *= 2  # not the same distribution after normalisation either
    normalise = lambda x: (x - x.mean((0, 1))) / x.std((0, 1))  # noqa: E731
    directions = np.random.default_rng(0).standard_normal([70, 49, 3])
    expected = np.mean(
        [
            scipy.stats.wasserstein_distance(
                *((normalise(x) * d / np.linalg.norm(d)).sum((1, 2)) for x in (real, fake))
            )
            for d in directions
        ]
    )
    value = sliced_wasserstein_distance(real, fake, projections=70)
    assert value == pytest.approx(expected, rel=1e-5)
    assert sliced_wasserstein_distance(real, 7 * real - 3, projections=70) < 1e-5  # normalised
    assert sliced_wasserstein_distance(real, fake[:100]) == sliced_wasserstein_distance(
        real[:100], fake[:100]
    )


def test_patches_are_those_of_the_levels():
    """Every descriptor is a 7x7 window of its level, and does not depend on the batch."""
    images = blurred_noise(4, (40, 36, 3), seed=2)
    patches = PatchDescriptors().features(images)["patches"]
    assert patches.shape == (4, 2, 128, 49, 3) and patches.dtype == np.float16
    np.testing.assert_array_equal(PatchDescriptors().features(images[2:3])["patches"], patches[2:3])
    for number in (0, 3):
        for level, descriptors in zip(scipy_pyramid(images[number]), patches[number], strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), axis=(0, 1))
            windows = np.moveaxis(windows, 2, -1).reshape(-1, 49, 3)
            for descriptor in descriptors[:20].astype(np.float64):
                assert np.abs(windows - descriptor).max((1, 2)).min() < 0.07  # float16
            assert len(np.unique(descriptors, axis=0)) > 70  # of 168 places


def test_swd_by_name_in_float64():
    """The whole metric again in float64 from the same windows, with SciPy's levels."""
    sides = [blurred_noise(12, (32, 32, 3), seed, width) for seed, width in ((3, 2.0), (4, 1.2))]
    (value,) = evaluate("swd12", *map(Memory, sides)).values()
    means = []
    for level in range(2):
        patches = []
        for images in sides:
            parts = [PatchDescriptors().features(image[None])["patches"][0] for image in images]
            patches.append(np.concatenate([part[level] for part in parts]).astype(np.float64))
        normal = [(p - p.mean((0, 1))) / p.std((0, 1)) for p in patches]
        directions = np.random.default_rng(0).standard_normal([512, 49, 3])
        directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
        ours, theirs = (np.sort(np.tensordot(p, directions, ([1, 2], [1, 2])), 0) for p in normal)
        means.append(np.abs(ours - theirs).mean())
    assert value == pytest.approx(1000 * np.mean(means), rel=1e-4)
    assert value > 50


def test_swd_sees_finer_structure():
    real, same, finer = (
        Memory(blurred_noise(60, (24, 24, 3), seed, width))
        for seed, width in ((5, 2.0), (6, 2.0), (7, 0.7))
    )
    values = [evaluate("swd60", real, side)["swd60"] for side in (real, same, finer)]
    assert values[0] == 0 < values[1] < values[2] / 2


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (33, 64), (20, 12), (4, 4)])
def test_layout_cells_are_plain_means(size):
    """Each pixel as 8x8 equal ones: then cells have whole numbers of them."""
    images = blurred_noise(3, (*size, 3), seed=7)
    fine = images.repeat(8, axis=1).repeat(8, axis=2) / 127.5 - 1
    expected = fine.reshape(3, 8, size[0], 8, size[1], 3).mean((2, 4))
    cells = Layout().features(images)["cells"].reshape(3, 8, 8, 3)
    np.testing.assert_allclose(cells, expected, atol=1e-5)


def test_layout_is_scipys_frechet_distance():
    real, fake = blurred_noise(300, (16, 16, 3), 8), blurred_noise(300, (16, 16, 3), 9) // 2
    cells = [
        (side.reshape(-1, 8, 2, 8, 2, 3).mean((2, 4)) / 127.5 - 1).reshape(len(side), -1)
        for side in (real, fake)
    ]
    (mean1, mean2), (cov1, cov2) = zip(*((c.mean(0), np.cov(c.T)) for c in cells), strict=True)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * root)
    values = evaluate("fd-layout300", Memory(real), Memory(fake))
    assert values == {"fd-layout300": pytest.approx(10 * expected, rel=1e-4)}


def test_grey_images_and_ones_with_transparency():
    grey = blurred_noise(200, (16, 16, 1), seed=10)
    colour = np.repeat(grey, 3, axis=-1)
    clear = np.concatenate([colour, np.full_like(grey, 255)], axis=-1)
    names = "swd20,fd-layout200"
    values = [evaluate(names, Memory(colour[::-1]), Memory(side)) for side in (grey, clear)]
    assert values[0] == pytest.approx(values[1])
    # The order of the images does not matter for moments; float32 sums differ a little.
    assert values[0]["fd-layout200"] == pytest.approx(0, abs=1e-4)


def test_what_is_refused(tmp_path):
    large, small = (Memory(blurred_noise(5, (n, n, 3), 11)) for n in (32, 16))
    with pytest.raises(UserError, match="swd5 cannot be computed: the images differ in size"):
        evaluate("swd5", large, small)
    mixed = Memory(large.array)
    mixed.images = lambda count: iter([*large.array[:3], *small.array[:2]])
    with pytest.raises(UserError, match="patches need images of one size"):
        evaluate("swd5", mixed, large)
    with pytest.raises(UserError, match="images of 5x5 pixels hold no patch of 7x7"):
        evaluate("swd5", *[Memory(blurred_noise(5, (5, 5, 3), 12))] * 2)
    with pytest.raises(UserError, match="192 features"):
        evaluate("fd-layout5", large, large)
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(9), sigma=np.eye(9))
    given = StoredStatistics(path, np.zeros(9), np.eye(9))
    with pytest.raises(UserError, match="swd5 needs images"):
        evaluate("swd5", given, large)


def test_patches_are_not_cached_and_layouts_are(tmp_path):
    comparison = Comparison(directory=tmp_path, report=lambda line: None)
    side = Memory(blurred_noise(200, (16, 16, 3), 13))
    comparison.evaluate(parse_metrics("swd20,fd-layout200"), side, side)
    assert [path.name.split("-")[0] for path in (tmp_path / "statistics").iterdir()] == ["layout"]


def evaluate(names, real, fake):
    comparison = Comparison(cache=False, report=lambda line: None)
    return comparison.evaluate(parse_metrics(names), real, fake)
