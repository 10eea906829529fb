"""Masks from two axes, against phantoms whose true outline is known."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from dsnotes.data import phantoms
from dsnotes.softmask import mask_from_recist, soft_mask, trimap_from_mask
from dsnotes.softmask.recist import _crossing, _ellipse_radius


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def ellipse_image(noise=30.0, size=64):
    """An ellipse of 24 × 14 pixels, 40 HU in lung of −880 HU, tilted by 30°."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - size / 2
    turn = np.deg2rad(30)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    mask = (u / 12) ** 2 + (v / 7) ** 2 <= 1
    along, across = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
    middle = np.array([size / 2, size / 2])
    axes = [
        tuple(tuple((middle + s * half * way).tolist()) for s in (-1, 1)) for half, way in ((12, along), (7, across))
    ]
    return np.where(mask, 40.0, -880.0) + rng.normal(0, noise, (size, size)), mask, axes


def test_a_clear_ellipse_is_found():
    image, mask, axes = ellipse_image()
    found = mask_from_recist(image, *axes)
    assert found.dtype == np.uint8
    assert dice(found > 0, mask) > 0.97


def test_the_seed_is_the_ellipse_through_the_four_ends():
    _, mask, axes = ellipse_image()
    ends = np.array(axes)
    radius = _ellipse_radius(ends, _crossing(ends, (64, 64)), (64, 64))
    assert dice(radius <= 1, mask) > 0.98
    off_centre = np.array([((30, 10), (30, 40)), ((26, 32), (38, 32))], float)  # crosses at a quarter of its length
    radius = _ellipse_radius(off_centre, _crossing(off_centre, (64, 64)), (64, 64))
    for end in off_centre.reshape(-1, 2).astype(int):
        assert radius[tuple(end)] == pytest.approx(1)


def test_phantoms_are_found_better_than_by_the_ellipse_where_they_are_no_ellipses():
    found, drawn = {}, {}
    for case in phantoms.nodules(16, seed=5):
        axes = case.extras["recist"]["long_axis"], case.extras["recist"]["short_axis"]
        ends = np.array(axes)
        ellipse = _ellipse_radius(ends, _crossing(ends, case.image.shape), case.image.shape) <= 1
        found.setdefault(case.extras["kind"], []).append(dice(mask_from_recist(case.image, *axes) > 0, case.label > 0))
        drawn.setdefault(case.extras["kind"], []).append(dice(ellipse, case.label > 0))
    assert np.mean(list(found.values())) > 0.86
    assert min(map(min, found.values())) > 0.6
    assert np.mean(found["spiculated"]) > np.mean(drawn["spiculated"]) + 0.1


def cross_image(noise=8.0):
    """A lesion of two bars, which fill half of the ellipse through their ends: 60 HU in tissue of 0."""
    mask = np.zeros((64, 64), bool)
    mask[29:36, 16:49] = True
    mask[20:45, 29:36] = True
    image = np.where(mask, 60.0, 0.0) + np.random.default_rng(0).normal(0, noise, mask.shape)
    return image, mask, (((32.0, 16.0), (32.0, 48.0)), ((20.0, 32.0), (44.0, 32.0)))


def test_far_metal_does_not_count():
    """A wire outside the ellipse would otherwise leave two of 256 grey values to lesion and tissue."""
    image, mask, axes = cross_image()
    image[:6] = 20_000
    assert dice(mask_from_recist(image, *axes) > 0, mask) > 0.9


def test_what_is_not_on_the_axes_is_dropped():
    image, mask, axes = cross_image()
    image[22:27, 39:44] = 60  # as bright as the lesion, inside the ellipse, but apart
    found = mask_from_recist(image, *axes)
    assert dice(found > 0, mask) > 0.9
    assert not found[22:27, 39:44].any()


def test_holes_are_filled():
    image, mask, axes = ellipse_image()
    image[32, 38], image[31, 38] = -880, -880  # a cavity beside the axes
    found = mask_from_recist(image, *axes)
    assert found[32, 38] == 1
    assert dice(found > 0, mask) > 0.97


def test_the_same_whatever_was_drawn_before():
    """GrabCut's k-means draws from OpenCV's random numbers; where nothing stands out another draw is another mask."""
    axes = ((32, 14), (32, 50)), ((22, 32), (42, 32))
    for k in range(6):
        image = ndimage.gaussian_filter(np.random.default_rng(k).normal(0, 30, (64, 64)), 2)
        found = set()
        for seed in range(5):
            cv2.setRNGSeed(seed)
            found.add(mask_from_recist(image, *axes).tobytes())
        assert len(found) == 1
        assert mask_from_recist(image, axes[0][::-1], axes[1]).tobytes() in found


def test_a_flat_image_gives_a_mask_all_the_same():
    found = mask_from_recist(np.full((32, 32), 7.0), ((16, 8), (16, 24)), ((10, 16), (22, 16)))
    assert found[16, 10:22].all()


def test_it_goes_on_with_strategy_one():
    image, mask, axes = ellipse_image()
    alpha = soft_mask(image, trimap_from_mask(mask_from_recist(image, *axes), 2), 1e-4)
    assert abs(alpha - mask).mean() < 0.01


@pytest.mark.parametrize(
    ("image", "long_axis", "short_axis", "text"),
    [
        (np.ones((2, 32, 32)), ((9, 2), (9, 20)), ((4, 9), (14, 9)), r"\(2, 32, 32\); needed is the slice"),
        (np.full((32, 32), np.nan), ((9, 2), (9, 20)), ((4, 9), (14, 9)), "NaN or infinite.*nan_to_num"),
        (np.ones((32, 32)), ((9, 2), (9, 60)), ((4, 9), (14, 9)), r"leave the image \(32, 32\).*swap x and y"),
        (np.ones((32, 32)), ((9, 2), (9, 20)), ((4, 28), (14, 28)), "do not cross.*one lesion"),
        (np.ones((32, 32)), ((9, 2), (9, 20)), ((11, 2), (11, 20)), "do not cross.*right angle"),
        (np.ones((32, 32)), ((9, 2), (9, 2)), ((4, 9), (14, 9)), r"axes of 0\.0 and 10\.0 pixels"),
    ],
)
def test_what_is_refused(image, long_axis, short_axis, text):
    with pytest.raises(ValueError, match=text):
        mask_from_recist(image, long_axis, short_axis)
