"""Lungs drawn by hand, SciPy's own closing, and the phantoms' true lungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.data.lungs import lung_mask, uncropped, uncropped_label, within_lungs
from dsnotes.data.preprocess import Preprocess
from dsnotes.metrics import dice

UNIT = (1.0, 1.0, 1.0)


def ball(shape, centre, radius):
    return sum((x - c) ** 2 for x, c in zip(np.indices(shape), centre, strict=True)) <= radius**2


def drawn(shape=(24, 40, 48)):
    """Muscle in air with two balls of lung, a bubble of gas too small for a lung, and no couch."""
    image = np.full(shape, -1000.0, np.float32)
    image[:, 4:36, 4:44] = 50
    left, right = ball(shape, (12, 20, 14), 8), ball(shape, (12, 20, 34), 7)
    image[left | right] = -850
    image[2:4, 6:8, 6:8] = -900
    return image, left, right


def test_two_balls_of_air_are_two_lungs_and_nothing_else_is():
    image, left, right = drawn()
    np.testing.assert_array_equal(lung_mask(image, spacing=UNIT, closing=0), left | right)


def test_a_second_region_below_a_tenth_is_no_lung():
    image, left, right = drawn()
    image[right] = 50
    image[ball(image.shape, (12, 20, 34), 3)] = -850
    np.testing.assert_array_equal(lung_mask(image, spacing=UNIT, closing=0), left)


def test_lungs_may_be_cut_by_the_first_and_the_last_slice_but_not_touch_a_side():
    image, left, _ = drawn()
    np.testing.assert_array_equal(lung_mask(image[12:], spacing=UNIT, closing=0)[left[12:]], 1)
    open_sided = image[:, :, 14:]  # the left ball reaches the side of the slice: air round the patient
    assert lung_mask(open_sided, spacing=UNIT, closing=0)[left[:, :, 14:]].max() == 0


@pytest.mark.parametrize(("radius", "spacing"), [(2, UNIT), (5, UNIT), (4, (2.0, 1.0, 1.0))])
def test_the_closing_is_scipys_by_a_ball_in_mm(radius, spacing):
    """A lung with a bite out of its rim; the other one is left out."""
    shape = (24, 40, 48)
    image = np.full(shape, 50.0, np.float32)
    lung = ball(shape, (12, 20, 22), 9) & ~ball(shape, (12, 20, 31), 3)
    image[lung] = -850
    reach = [int(radius // mm) for mm in spacing]
    offsets = np.indices([2 * r + 1 for r in reach])
    element = sum(((o - r) * mm) ** 2 for o, r, mm in zip(offsets, reach, spacing, strict=True)) <= radius**2
    closed = ndimage.binary_closing(np.pad(lung, 6), element)[6:-6, 6:-6, 6:-6]
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in closed])
    assert filled.sum() > lung.sum()
    np.testing.assert_array_equal(lung_mask(image, spacing=spacing, closing=radius), filled)


def test_a_nodule_inside_is_filled_and_the_space_between_the_lungs_is_not():
    image, left, right = drawn()
    image[ball(image.shape, (12, 20, 14), 3)] = 40
    mask = lung_mask(image, spacing=UNIT, closing=6)
    assert mask[left].all()
    assert mask[12, 20, 24] == 0  # 6 mm from either lung: one closing over both would bridge it
    assert mask.dtype == np.uint8
    assert mask.max() == 1


def test_on_phantoms_it_is_nearly_the_true_lung():
    for case in phantoms.lung(3, seed=5):
        mask, lungs = lung_mask(case.image, spacing=case.spacing, closing=0) > 0, case.extras["lungs"] > 0
        aerated = lungs & (case.label == 0)
        assert 2 * (mask & aerated).sum() / (mask.sum() + aerated.sum()) > 0.95


def test_outside_the_margin_is_air_and_the_label_is_kept():
    (case,) = phantoms.lung(1, seed=5)
    kept = within_lungs(case, margin=20, crop=False)
    near = ndimage.distance_transform_edt(lung_mask(case.image, spacing=case.spacing) == 0, sampling=case.spacing) <= 20
    np.testing.assert_array_equal(kept.image, np.where(near, case.image, case.image.min()))
    np.testing.assert_array_equal(kept.label, case.label)
    assert within_lungs(case, margin=0, crop=False).image[case.label > 0].min() == case.image.min()


def test_a_crop_moves_everything_and_comes_back():
    (case,) = phantoms.lung(1, seed=5)
    recist = {"slice": 30, "long_axis": ((30, 31), (40, 42)), "text": "kept"}
    case = replace(case, extras=case.extras | {"recist": recist})
    whole, cut = within_lungs(case, crop=False), within_lungs(case)
    starts, space = cut.extras["cropped"]
    assert space == case.space
    assert any(n < m for n, m in zip(cut.space, case.space, strict=True))
    box = tuple(slice(at, at + n) for at, n in zip(starts, cut.space, strict=True))
    for name in ("alpha", "components", "lungs"):
        np.testing.assert_array_equal(cut.extras[name], case.extras[name][box])
    np.testing.assert_array_equal(cut.image, whole.image[box])
    np.testing.assert_array_equal(cut.label, case.label[box])
    for there, here in zip(case.extras["tumours"], cut.extras["tumours"], strict=True):
        np.testing.assert_allclose(here["centre"], np.subtract(there["centre"], starts))
    moved = cut.extras["recist"]
    assert moved["slice"] == 30 - starts[0]
    assert moved["long_axis"][1] == (40 - starts[1], 42 - starts[2])
    assert moved["text"] == "kept"
    back = uncropped(cut.label[None], cut)
    np.testing.assert_array_equal(back[0][box], cut.label)
    assert back.shape == (1, *case.space)
    assert back.sum() == cut.label.sum()
    np.testing.assert_array_equal(uncropped(case.label, case), case.label)


def test_a_tumour_outside_the_crop_is_still_counted():
    """One lung is full of fluid and holds the tumour: the crop is round the other, and the tumour must stay missed."""
    image, left, right = drawn()
    image[right] = 40
    label = np.zeros(image.shape, np.uint8)
    label[right] = 1
    case = Case("effusion", image.astype(np.float32), label, UNIT)
    with pytest.warns(UserWarning, match=rf"{right.sum()} of {right.sum()} labelled voxels .*uncropped_label\(case\)"):
        cut = within_lungs(case, margin=2)
    assert cut.label.sum() == 0
    np.testing.assert_array_equal(uncropped_label(cut), label)
    truth, found = uncropped_label(cut), uncropped(np.zeros(cut.space, np.uint8), cut)
    assert dice(found, truth) == 0
    with pytest.raises(ValueError, match="case effusion has no label. Pass a labelled case"):
        uncropped_label(replace(case, label=None))
    np.testing.assert_array_equal(uncropped_label(case), label)


def test_preprocess_blanks_before_the_window_is_laid_over():
    (case,) = phantoms.lung(1, seed=5)
    ready = Preprocess(lungs=20.0, clip=(-1000.0, 400.0), normalise="window")(case)
    by_hand = (within_lungs(case, crop=False).image.clip(-1000, 400) + 1000) / 1400
    np.testing.assert_allclose(ready.image, by_hand, atol=1e-6)
    assert (ready.image == 0).mean() > 0.4
    assert ready.space == case.space


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda image: lung_mask(image / 1400 + 0.7, spacing=UNIT), "no lung was found.*CT in HU, before windowing"),
        (lambda image: lung_mask(image[0], spacing=UNIT[1:]), r"shape \(40, 48\).*one channel of a whole CT"),
        (lambda image: lung_mask(image, spacing=UNIT, closing=-1), "closing=-1.*closing=8"),
        (lambda image: lung_mask(image, spacing=UNIT, threshold=200), "threshold=200.*threshold=-400"),
        (lambda image: lung_mask(image, spacing=(1, 0, 1)), "positive numbers, the millimetres"),
        (lambda image: within_lungs(Case("a", image, None, UNIT), margin=-1), "margin=-1.*margin=20"),
        (
            lambda image: uncropped(image[1:], Case("a", image, None, UNIT)),
            r"\(23, 40, 48\) came for case a.*together with that case",
        ),
    ],
)
def test_errors_say_what_to_do(call, said):
    with pytest.raises(ValueError, match=said):
        call(drawn()[0])
