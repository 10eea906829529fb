"""Trimaps against SciPy's morphology and the two strategies as the paper words them."""

import numpy as np
import pytest
from scipy import ndimage

from dsnotes.softmask import trimap_from_annotators, trimap_from_mask


def disc(size=64, radius=18.0, centre=None):
    y, x = np.mgrid[:size, :size]
    cy, cx = centre or (size / 2, size / 2)
    return np.hypot(y - cy, x - cx) < radius


def structure(radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


def by_scipy(mask, radius):
    core = ndimage.binary_erosion(mask, structure(radius), border_value=1)
    wide = ndimage.binary_dilation(mask, structure(radius))
    return core.astype(int) + wide - 1


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("size", [64, 256])
def test_same_pixels_as_scipy(size, radius):
    rng = np.random.default_rng(radius)
    wobbly = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 20)
    mask = disc(size, 0.3 * size) | (wobbly > 2.2 * wobbly.std())
    np.testing.assert_array_equal(trimap_from_mask(mask, radius), by_scipy(mask, radius))


def test_a_stack_is_its_slices():
    stack = np.stack([disc(radius=r) for r in (8, 12, 9)]).astype(np.uint8)
    stack = np.concatenate([stack, np.zeros((1, 64, 64), np.uint8)])  # and one without lesion
    trimap = trimap_from_mask(stack, 2)
    for level, expected in zip(trimap[:3], stack[:3], strict=True):
        np.testing.assert_array_equal(level, trimap_from_mask(expected, 2))
    assert (trimap[3] == -1).all()
    assert trimap.dtype == np.int8


@pytest.mark.parametrize(("spacing", "radii"), [((1.0, 1.0, 1.0), (3, 3, 3)), ((2.5, 0.7, 0.7), (1, 3, 3))])
def test_with_a_spacing_it_is_scipys_morphology_with_an_ellipsoid(spacing, radii):
    z, y, x = np.ogrid[tuple(slice(-r, r + 1) for r in radii)]
    element = (z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 <= 1 + 1e-9
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.normal(size=(20, 40, 40)), 4)
    mask = mask > np.quantile(mask, 0.7)
    core = ndimage.binary_erosion(mask, element, border_value=1)
    expected = core.astype(int) + ndimage.binary_dilation(mask, element) - 1
    np.testing.assert_array_equal(trimap_from_mask(mask, 3, spacing=spacing), expected)
    assert core.any()


def test_in_3d_the_slices_above_and_below_are_unknown_and_a_thin_lesion_keeps_its_core():
    mask = np.zeros((9, 32, 32), np.uint8)
    mask[3:6] = disc(32, 8)
    shell = trimap_from_mask(mask, 3, spacing=(2.5, 0.7, 0.7))
    assert [set(np.unique(level[14:18, 14:18])) for level in shell[2:7]] == [{0}, {0}, {1}, {0}, {0}]
    assert (trimap_from_mask(mask, 3)[2] == -1).all()
    mask[4] = 0
    mask[3:6, 2:5, 2:5] = 1  # a second, smaller one
    thin = mask * (np.arange(9) != 3)[:, None, None]
    assert (trimap_from_mask(thin, 3, spacing=(2.5, 0.7, 0.7), keep_small=True)[:, 2:5, 2:5] == 1).any()
    with pytest.raises(ValueError, match=r"trimap_from_mask: spacing \(1.0, 1.0\) came; needed are 3"):
        trimap_from_mask(mask, 3, spacing=(1.0, 1.0))


def test_a_lesion_at_the_border_goes_on_beyond_it():
    mask = np.zeros((32, 32), bool)
    mask[10:20, :12] = True
    trimap = trimap_from_mask(mask, 3)
    assert (trimap[13:17, 0] == 1).all()
    assert (trimap[14, 8:10] == [1, 0]).all()  # three pixels off the free edge


def test_a_lesion_that_erosion_deletes_keeps_its_deepest_pixels():
    mask = np.zeros((20, 20), bool)
    mask[8:11, 5:12] = True  # 3 rows: the middle one is deepest
    trimap = trimap_from_mask(mask, 4)
    np.testing.assert_array_equal(np.argwhere(trimap == 1), [(9, c) for c in range(6, 11)])
    assert (trimap == 0).sum() == (by_scipy(mask, 4) == 0).sum() - 5


def test_a_small_lesion_beside_a_large_one_is_kept_when_asked():
    mask = disc(radius=12)
    mask[2:5, 2:5] = True
    assert not (trimap_from_mask(mask, 3)[:6, :6] == 1).any()
    kept = trimap_from_mask(mask, 3, keep_small=True)
    np.testing.assert_array_equal(np.argwhere(kept[:6, :6] == 1), [(3, 3)])
    np.testing.assert_array_equal(kept[10:], by_scipy(mask, 3)[10:])


def test_the_radius_is_lowered_until_enough_of_a_thin_structure_is_core():
    line = np.zeros((40, 40), bool)
    line[:, 15:20] = True  # five wide, so radius 1 leaves 3/5 as core, radius 2 a fifth, radius 3 its middle
    for core, radius in ((0.0, 3), (0.2, 3), (1 / 3, 1), (0.6, 1), (0.7, 1)):
        np.testing.assert_array_equal(trimap_from_mask(line, 3, core=core), trimap_from_mask(line, radius))
    np.testing.assert_array_equal(trimap_from_mask(disc(radius=12), 3, core=1 / 3), by_scipy(disc(radius=12), 3))
    with pytest.raises(ValueError, match=r"core=1\.0 came; .* 0 ≤ core < 1. For instance core=1/3"):
        trimap_from_mask(line, 3, core=1.0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_any_mask_of_zeros_and_ones(dtype):
    np.testing.assert_array_equal(trimap_from_mask(disc().astype(dtype), 2), by_scipy(disc(), 2))


@pytest.mark.parametrize(
    ("mask", "radius", "text"),
    [
        (disc() * 2, 3, r"values from 0 to 2.*mask == 1"),
        (disc() * 0.5, 3, r"from 0 to 0\.5.*mask > 0\.5"),
        (np.where(disc(), np.nan, 0.0), 3, "values from nan to nan"),
        (np.zeros((9, 9), bool), 1, "mask is empty.*check its label"),
        (disc(), 0, "radius=0 .*radius=3"),
        (np.ones((1, 1, 9, 9), bool), 1, r"\(1, 1, 9, 9\).*no channels"),
        (np.ones((9, 9), bool), 1, "no pixel outside the lesion.*more margin"),
    ],
)
def test_what_is_refused(mask, radius, text):
    with pytest.raises(ValueError, match=text):
        trimap_from_mask(mask, radius)


def test_readers_agree_inside_all_and_outside_all():
    """Strategy 2: the intersection is lesion, the complement of the union background, the rest unknown."""
    readers = [disc(radius=r, centre=(32, 32 + s)) for r, s in ((10, 0), (12, 3), (9, -2), (11, 1))]
    trimap = trimap_from_annotators(readers)
    np.testing.assert_array_equal(trimap == 1, np.logical_and.reduce(readers))
    np.testing.assert_array_equal(trimap == -1, ~np.logical_or.reduce(readers))
    np.testing.assert_array_equal(trimap, trimap_from_annotators(np.stack(readers).astype(np.uint8)))


def test_readers_of_one_mind_leave_nothing_unknown():
    np.testing.assert_array_equal(trimap_from_annotators([disc(), disc()]), np.where(disc(), 1, -1))


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        ([disc(centre=(12, 12), radius=5), disc(centre=(40, 40), radius=5)], "at most 1 agree.*use the consensus"),
        ([disc(), disc()[1:]], r"have the shapes \(64, 64\), \(63, 64\); needed is one grid\. Crop or resample them"),
        ([disc()], r"\(1, 64, 64\).*trimap_from_mask"),
        ([disc(), np.zeros((64, 64), bool)], r"annotators \[1\] drew nothing"),
        ([disc().astype(np.uint8) * 255] * 2, "masks holds values from 0 to 255"),
        ([np.ones((9, 9), bool)] * 2, "no pixel lies outside"),
    ],
)
def test_readers_that_are_refused(masks, text):
    with pytest.raises(ValueError, match=text):
        trimap_from_annotators(masks)
