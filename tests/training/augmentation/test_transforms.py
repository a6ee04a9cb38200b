"""Each transform against definitions that were not written here: NumPy, SciPy, the papers' text."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from dnnlib.random_streams import RandomStream
from training.augmentation import wavelets
from training.augmentation.affine import transform
from training.augmentation.blitting import Blit, blit, draw_blit
from training.augmentation.color import Recoloring, draw_recoloring, recolor
from training.augmentation.corruption import add_noise, cut_out
from training.augmentation.diffaugment import jitter_colors, translate
from training.augmentation.filtering import band_filters, draw_gains, filter_bands
from training.augmentation.geometric import Affine, draw_affine

MANY = 1000


def draw(function, *arguments, first=0):
    """Call function(stream, *arguments) for MANY images, whose number the graph does not know."""
    signature = [tf.TensorSpec([None], tf.int64)]
    traced = tf.function(
        lambda index: function(RandomStream("test", index), *arguments), input_signature=signature
    )
    return traced(tf.range(first, first + MANY, dtype=tf.int64))


def change(function, images, *arguments, first=0):
    """Call function(images, stream, *arguments) in the same way."""
    return draw(lambda stream: function(images, stream, *arguments), first=first).numpy()


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def smooth_pictures(*shape):
    noise = np.random.default_rng(1).normal(size=shape)
    smooth = scipy.ndimage.gaussian_filter(noise, [0, 3, 3, 0], mode="mirror")
    return (smooth / np.abs(smooth).max()).astype(np.float32)


def is_normal(sample, deviation):
    return scipy.stats.kstest(np.asarray(sample) / deviation, "norm").pvalue > 1e-3


def is_uniform(sample, low, high):
    return scipy.stats.kstest((np.asarray(sample) - low) / (high - low), "uniform").pvalue > 1e-3


def is_rate(happened, rate):
    happened = np.asarray(happened)
    return scipy.stats.binomtest(int(happened.sum()), happened.size, rate).pvalue > 1e-3


# -- wavelets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("taps", [wavelets.SYM2, wavelets.SYM6])
def test_wavelets_by_their_defining_equations(taps):
    """N/2 orthogonality and N/2 moment conditions for N taps leave finitely many filters."""
    assert abs(taps.sum() - 2**0.5) < 1e-12
    for shift in range(0, len(taps), 2):
        product = np.dot(taps[shift:], taps[: len(taps) - shift])
        assert abs(product - (shift == 0)) < 1e-12
    positions = np.arange(len(taps)) / len(taps)
    for moment in range(len(taps) // 2):
        assert abs(np.sum((-1.0) ** np.arange(len(taps)) * positions**moment * taps)) < 1e-10


def test_sym6_is_the_least_asymmetric_one():
    """All filters with these equations, from the roots of Daubechies' polynomial."""
    polynomial = [math.comb(5 + k, k) for k in range(6)][::-1]  # P(y), y = (2 - z - 1/z) / 4
    pairs = [np.roots([1, 4 * y - 2, 1]) for y in np.roots(polynomial)]
    pairs = sorted(pairs, key=lambda pair: (abs(pair[0].imag), pair[0].imag))
    distances = []
    for choice in np.ndindex(*[2] * 5):
        roots = [pair[which] for pair, which in zip(pairs, choice, strict=True)]
        filter_ = np.poly([-1] * 6 + roots)
        if np.abs(filter_.imag).max() > 1e-4 * np.abs(filter_).max():
            continue  # conjugate roots must be chosen together
        filter_ = filter_.real / filter_.real.sum() * 2**0.5
        w = np.linspace(0, np.pi * 0.9, 200)
        phase = np.unwrap(np.angle(np.exp(-1j * np.outer(w, np.arange(12))) @ filter_))
        curvature = np.abs(phase - w * np.dot(w, phase) / np.dot(w, w)).max()
        difference = min(np.abs(f - wavelets.SYM6).max() for f in (filter_, filter_[::-1]))
        distances.append((curvature, difference))
    assert len(distances) >= 4
    assert min(distances)[1] < 1e-6


# -- pixel blitting ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_flip_and_shift_copy_pixels(size):
    images = pictures(3, *size, 2)
    moved = blit(
        images,
        Blit(
            tf.constant([True, False, True]),
            tf.constant([0, 0, 0]),
            tf.constant([[0.0, 0.0], [2.0, -3.0], [1.0, 1.0]]),
        ),
    )
    np.testing.assert_array_equal(moved[0], images[0][:, ::-1])
    expected = scipy.ndimage.shift(images[1], (2, -3, 0), order=0, mode="mirror")
    np.testing.assert_array_equal(moved[1], expected)
    expected = scipy.ndimage.shift(images[2][:, ::-1], (1, 1, 0), order=0, mode="mirror")
    np.testing.assert_array_equal(moved[2], expected)


def test_quarter_turns():
    images = pictures(4, 9, 9, 3)
    none, still = tf.zeros([4], tf.bool), tf.zeros([4, 2])
    turned = blit(images, Blit(none, tf.range(4), still))
    for turns in range(4):
        np.testing.assert_array_equal(turned[turns], np.rot90(images[turns], turns))


def test_blit_statistics():
    always = draw(draw_blit, 1.0, 64, 32)
    assert is_rate(always.flip, 0.5)
    assert scipy.stats.chisquare(np.bincount(always.turns, minlength=4)).pvalue > 1e-3
    shift = always.shift.numpy()
    for axis, limit in ((0, 8), (1, 4)):  # rounding gives the ends half of the probability
        expected = np.array([0.5] + [1] * (2 * limit - 1) + [0.5]) * MANY / (2 * limit)
        counts = np.bincount((shift[:, axis] + limit).astype(int), minlength=2 * limit + 1)
        assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    some = draw(draw_blit, 0.4, 64, 64, first=5000)
    assert is_rate(some.flip, 0.2)
    assert is_rate(some.turns != 0, 0.3)
    assert 0.3 * MANY < np.count_nonzero(some.shift.numpy().any(axis=1)) < 0.45 * MANY


# -- geometric --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("angle", "scale_x", "scale_y", "shift"),
    [
        (0.0, 1.0, 1.0, (0.37, -1.6)),
        (0.6, 1.0, 1.0, (0.0, 0.0)),
        (-2.0, 1.3, 0.9, (4.2, 2.7)),
        (1.1, 0.7, 0.8, (-30.0, 55.0)),  # beyond several reflections
    ],
)
def test_affine_agrees_with_scipy(angle, scale_x, scale_y, shift):
    images = smooth_pictures(1, 32, 48, 2)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) @ np.diag([scale_x, scale_y])
    affine = Affine(
        tf.constant(linear[None], tf.float32), tf.constant(np.array([shift]), tf.float32)
    )
    ours = transform(images, affine).numpy()[0]
    inverse = np.linalg.inv(linear)[::-1, ::-1]  # rows and columns are (y, x) in SciPy
    middle = np.array([15.5, 23.5])
    offset = middle - inverse @ (middle + np.array(shift)[::-1])
    for channel in range(2):
        expected = scipy.ndimage.affine_transform(
            images[0, :, :, channel].astype(np.float64), inverse, offset, order=5, mode="mirror"
        )
        difference = np.abs(ours[:, :, channel] - expected)
        inner = difference[3:-3, 3:-3]  # at its edges SciPy's spline sees another continuation
        assert np.sqrt(np.mean(difference**2)) < 0.01 and inner.max() < 0.06


def test_transform_without_motion_changes_nothing():
    images = pictures(2, 17, 32, 3)
    still = Affine(tf.eye(2, batch_shape=[2]), tf.zeros([2, 2]))
    np.testing.assert_allclose(transform(images, still), images, atol=1e-6)


def test_transform_by_whole_pixels_copies_them():
    images = pictures(1, 32, 32, 3)
    affine = Affine(tf.eye(2, batch_shape=[1]), tf.constant([[3.0, -5.0]]))
    expected = scipy.ndimage.shift(images[0], (-5, 3, 0), order=0, mode="mirror")
    inner = (slice(7, -12), slice(10, -7))  # where no reflected sample is involved
    np.testing.assert_allclose(transform(images, affine)[0][inner], expected[inner], atol=1e-6)


def test_small_pictures_are_refused():
    with pytest.raises(ValueError, match="4x4 are too small"):
        transform(tf.zeros([1, 4, 4, 3]), Affine(tf.eye(2, batch_shape=[1]), tf.zeros([1, 2])))


def test_affine_statistics():
    """Of L = R(after) diag(a, 1/a) R(before) s: singular values s a and s / a, angles from them."""
    always = draw(draw_affine, 1.0, 64, 32)
    u, values, v = np.linalg.svd(always.linear.numpy().astype(np.float64))
    isotropic = np.log2(values).mean(axis=1)
    assert is_normal(isotropic, 0.2)
    anisotropic = np.abs(np.diff(np.log2(values), axis=1)) / 2
    assert scipy.stats.kstest(anisotropic.ravel() / 0.2, "halfnorm").pvalue > 1e-3
    assert np.all(np.linalg.det(u @ v) > 0)  # no mirror image
    whole = u @ v
    assert is_uniform(np.arctan2(whole[:, 0, 1], whole[:, 0, 0]), -np.pi, np.pi)
    axis = np.arctan2(v[:, 0, 1], v[:, 0, 0]) % np.pi
    assert is_uniform(axis, 0, np.pi)
    assert is_normal(always.shift[:, 0], 0.125 * 32) and is_normal(always.shift[:, 1], 0.125 * 64)


def test_affine_probabilities():
    """Rotation at least once with probability p; a transform alone leaves its mark on L."""
    p = 0.36
    some = draw(draw_affine, p, 64, 64)
    assert is_rate(some.shift[:, 0] != 0, p)
    linear = some.linear.numpy().astype(np.float64)
    values = np.linalg.svd(linear, compute_uv=False)
    is_scaled = np.abs(np.log2(values).sum(axis=1)) > 1e-5
    is_stretched = np.abs(values[:, 0] / values[:, 1] - 1) > 1e-5
    assert is_rate(is_scaled, p) and is_rate(is_stretched, p)
    is_rotated = np.abs(linear[:, 0, 1]) + np.abs(linear[:, 1, 0]) > 1e-6
    assert is_rate(is_rotated, p)


# -- colour -----------------------------------------------------------------------------------


def paper_color_matrix(b, c, flip, angle, s):
    """The product of 4 x 4 matrices of Karras et al. (2020), appendix B."""
    v = np.array([1, 1, 1, 0]) / 3**0.5
    along = np.outer(v, v)
    brightness, contrast, hue = np.eye(4), np.diag([c, c, c, 1]), np.eye(4)
    brightness[:3, 3] = b
    hue[:3, :3] = scipy.spatial.transform.Rotation.from_rotvec(angle * v[:3]).as_matrix()
    luma = np.eye(4) - 2 * along * flip
    saturation = along + (np.eye(4) - along) * s
    saturation[3, 3] = 1
    return saturation @ hue @ luma @ contrast @ brightness


CHANGES = [(0.3, 1.5, 0, 0.0, 1.0), (-0.2, 0.7, 1, 2.0, 0.4), (0.1, 1.0, 0, -1.0, 2.5)]


def as_recoloring():
    b, c, flip, angle, s = np.array(CHANGES, np.float32).T
    return Recoloring(*(tf.constant(value) for value in (b, c, 1 - 2 * flip, angle, s)))


def test_color_is_the_product_of_the_papers_matrices():
    images = pictures(3, 5, 4, 3)
    changed = recolor(images, as_recoloring())
    for number, numbers in enumerate(CHANGES):
        pixels = np.concatenate([images[number], np.ones([5, 4, 1])], axis=2)
        expected = pixels @ paper_color_matrix(*numbers).T
        np.testing.assert_allclose(changed[number], expected[..., :3], atol=2e-6)


def test_grey_pictures_change_as_grey_colours_do():
    grey = pictures(3, 5, 4, 1)
    in_color = recolor(np.repeat(grey, 3, axis=3), as_recoloring()).numpy()
    changed = recolor(grey, as_recoloring())
    np.testing.assert_allclose(np.repeat(changed, 3, axis=3), in_color, atol=2e-6)


def test_color_statistics():
    always = draw(draw_recoloring, 1.0)
    assert is_normal(always.brightness, 0.2)
    assert is_normal(np.log2(always.contrast), 0.5)
    assert is_rate(always.luma == -1, 0.5)
    assert is_uniform(always.hue, -np.pi, np.pi)
    assert is_normal(np.log2(always.saturation), 1.0)
    some = draw(draw_recoloring, 0.3)
    neutral = Recoloring(0.0, 1.0, 1.0, 0.0, 1.0)
    for name in ("brightness", "contrast", "hue", "saturation"):
        assert is_rate(getattr(some, name) != getattr(neutral, name), 0.3), name
    assert is_rate(some.luma == -1, 0.15)
    correlation = np.corrcoef([x.numpy() != n for x, n in zip(some, neutral, strict=True)])
    assert np.abs(correlation - np.eye(5)).max() < 0.15


# -- filters ----------------------------------------------------------------------------------


def test_bands_have_their_frequencies():
    """They sum to 1, and each has its gain of 1 in the middle of its own octave."""
    filters = band_filters()
    frequency = np.linspace(0, np.pi, 400)
    reach = filters.shape[1] // 2
    response = (filters @ np.exp(-1j * np.outer(np.arange(-reach, reach + 1), frequency))).real
    np.testing.assert_allclose(response.sum(axis=0), 1, atol=1e-12)
    edges = np.pi * np.array([0, 1 / 8, 1 / 4, 1 / 2, 1])
    for band in range(4):
        inside = (frequency > edges[band]) & (frequency < edges[band + 1])
        power = np.square(response[band])
        assert power[inside].sum() > 0.75 * power.sum()
        assert np.argmax(response, axis=0)[inside].mean() == pytest.approx(band, abs=0.15)


def test_filter_is_a_separable_convolution():
    images = pictures(2, 24, 64, 3)
    gains = np.array([[1, 0.3, 2, 1], [0.5, 1, 1, 3]], np.float32)
    filtered = filter_bands(images, tf.constant(gains))
    for number in range(2):
        taps = gains[number] @ band_filters()
        expected = images[number].astype(np.float64)
        for axis in (0, 1):
            expected = scipy.ndimage.convolve1d(expected, taps, axis=axis, mode="mirror")
        np.testing.assert_allclose(filtered[number], expected, atol=1e-5)


def test_gain_statistics():
    power = np.array([10, 1, 1, 1]) / 13
    one = draw(draw_gains, 0.05).numpy().astype(np.float64)
    np.testing.assert_allclose(np.square(one) @ power, 1, atol=0.5)
    assert is_rate((np.abs(one - 1) > 1e-5).any(axis=1), 1 - 0.95**4)
    single = one[np.ptp(np.sort(one, axis=1)[:, :3], axis=1) < 1e-6]  # at most one amplified
    np.testing.assert_allclose(np.square(single) @ power, 1, atol=1e-5)
    always = draw(draw_gains, 1.0).numpy()
    ratio = np.log2(always[:, 3] / always[:, 2])  # the difference of two N(0, 1)
    assert is_normal(ratio, 2**0.5)


# -- corruptions ------------------------------------------------------------------------------


def test_noise_statistics():
    images = np.zeros([MANY, 8, 8, 3], np.float32)
    noise = change(add_noise, images, 1.0).reshape(MANY, -1)
    strength = noise.std(axis=1)
    assert scipy.stats.kstest(strength / 0.1, "halfnorm").pvalue > 1e-3
    assert is_normal((noise / strength[:, None])[:, :5].ravel(), 1)
    some = change(add_noise, images, 0.3, first=7000)
    assert is_rate(some.any(axis=(1, 2, 3)), 0.3)


def test_cutout_statistics():
    images = np.ones([MANY, 16, 32, 1], np.float32)
    kept = change(cut_out, images, 1.0)[..., 0]
    rows, columns = (kept == 0).any(axis=2), (kept == 0).any(axis=1)
    np.testing.assert_array_equal(kept == 0, rows[:, :, None] & columns[:, None, :])
    for lines, size in ((rows, 16), (columns, 32)):
        assert lines.sum(axis=1).max() == size // 2
        is_whole = ~lines[:, 0] & ~lines[:, -1]
        assert np.all(lines[is_whole].sum(axis=1) == size // 2)
        # A line is cut if the centre, uniform, is within a quarter of the size: both ways, or not.
        expected = np.minimum(
            np.minimum(np.arange(size) + 0.5, size / 2), size - 0.5 - np.arange(size)
        )
        chance = np.minimum((expected + size / 4) / size, 0.5)
        assert np.abs(lines.mean(axis=0) - chance).max() < 0.07
    some = change(cut_out, images, 0.3, first=7000)
    assert is_rate((some == 0).any(axis=(1, 2, 3)), 0.3)


# -- DiffAugment ------------------------------------------------------------------------------


def test_diffaugment_colors():
    images = pictures(MANY, 4, 4, 3)
    changed = change(jitter_colors, images).astype(np.float64)
    mean = lambda x, axes: x.mean(axis=axes, keepdims=True)  # noqa: E731
    assert is_uniform((changed - images).mean(axis=(1, 2, 3)), -0.5, 0.5)
    grey_before = mean(images, 3) - mean(images, (1, 2, 3))
    grey_after = mean(changed, 3) - mean(changed, (1, 2, 3))
    contrast = (grey_after * grey_before).sum(axis=(1, 2, 3)) / (grey_before**2).sum(axis=(1, 2, 3))
    assert is_uniform(contrast, 0.5, 1.5)
    chroma_before, chroma_after = images - mean(images, 3), changed - mean(changed, 3)
    ratio = (chroma_after * chroma_before).sum(axis=(1, 2, 3)) / (chroma_before**2).sum(
        axis=(1, 2, 3)
    )
    assert is_uniform(ratio / contrast, 0, 2)


def test_diffaugment_translation():
    images = pictures(MANY, 16, 32, 1) + 2  # nowhere zero
    moved = change(translate, images)
    shifts = []
    for before, after in zip(images, moved, strict=True):
        rows, columns = (after != 0).any(axis=(1, 2)), (after != 0).any(axis=(0, 2))
        y = 16 - rows.sum() if rows[-1] else rows.sum() - 16
        x = 32 - columns.sum() if columns[-1] else columns.sum() - 32
        expected = scipy.ndimage.shift(before, (y, x, 0), order=0, mode="constant")
        np.testing.assert_array_equal(after, expected)
        shifts.append((y, x))
    shifts = np.array(shifts)
    for axis, limit in ((0, 2), (1, 4)):
        counts = np.bincount(shifts[:, axis] + limit, minlength=2 * limit + 1)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3
