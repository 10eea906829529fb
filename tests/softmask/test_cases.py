"""Soft masks for cases that have labels alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.metrics import dice
from dsnotes.softmask import noise_eps, soft_mask, softened, trimap_from_annotators, trimap_from_mask


def rings(size: int = 40) -> np.ndarray:
    """Three classes from inside to outside: 2 in the middle, 1 round it, 0 elsewhere."""
    y, x = np.mgrid[:size, :size]
    far = np.hypot(y - size / 2, x - size / 2)
    return (far < 14).astype(np.uint8) + (far < 7)


def case_of(label: np.ndarray) -> Case:
    return Case("rings", gaussian_filter(label.astype(np.float32), 1.0), label, (1.0, 1.0))


def test_of_two_classes_it_is_the_first_strategy():
    case = case_of((rings() > 0).astype(np.uint8))
    (soft,) = softened([case], radius=2, eps=1e-4)
    expected = soft_mask(case.image, trimap_from_mask(case.label, 2), 1e-4)
    np.testing.assert_array_equal(soft.extras["soft"], expected)
    assert soft.label is case.label
    assert "soft" not in case.extras


def test_shares_of_several_classes_sum_to_one_and_follow_the_label():
    case = case_of(rings())
    (soft,) = softened([case], classes=3, radius=2, eps=1e-4)
    shares = soft.extras["soft"]
    assert shares.shape == (3, 40, 40)
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)
    assert (shares.argmax(0) == case.label).mean() > 0.97
    blurred = (shares > 0.01) & (shares < 0.99)
    assert blurred.any((1, 2)).all()


def test_a_class_that_a_case_lacks_has_no_share():
    empty, full = case_of(np.zeros((40, 40), np.uint8)), case_of((rings() > 0).astype(np.uint8))
    nothing, something = softened([empty, full], radius=2)
    assert not nothing.extras["soft"].any()
    assert something.extras["soft"].any()
    of_three = softened([full], classes=3, radius=2)[0].extras["soft"]
    assert not of_three[2].any()
    np.testing.assert_allclose(of_three.sum(0), 1, atol=1e-6)


def test_a_volume_keeps_its_slices():
    flat = case_of((rings() > 0).astype(np.uint8))
    deep = Case("deep", np.stack([flat.image] * 2), np.stack([flat.label] * 2), (5.0, 1.0, 1.0))
    of_slice, of_volume = (softened([case], radius=2, eps=1e-4)[0].extras["soft"] for case in (flat, deep))
    np.testing.assert_allclose(of_volume, np.stack([of_slice] * 2), atol=1e-6)


def drawn(*shifts: int) -> np.ndarray:
    return np.stack([np.roll(rings() > 0, shift, 1) for shift in shifts]).astype(np.uint8)


def test_annotators_masks_are_the_second_strategy():
    case = case_of((rings() > 0).astype(np.uint8))
    case = replace(case, extras={"annotators": drawn(0, 2, -2)})
    (soft,) = softened([case])
    expected = soft_mask(case.image, trimap_from_annotators(case.extras["annotators"]), 1e-2)
    np.testing.assert_array_equal(soft.extras["soft"], expected)
    assert (softened([case], annotators=False)[0].extras["soft"] != expected).any()
    as_before = replace(case, extras={"readers": np.concatenate([drawn(0, 2, -2), np.zeros((1, 40, 40), np.uint8)])})
    np.testing.assert_array_equal(softened([as_before])[0].extras["soft"], expected)  # who drew nothing has no say


def test_in_a_volume_slices_beside_the_common_core_are_matted_too():
    plane = case_of((rings() > 0).astype(np.uint8))
    image, label = np.stack([plane.image] * 4), np.stack([plane.label] * 4)
    masks = np.stack([label, label])
    masks[1, 0] = 0  # one annotator began a slice later
    case = Case("deep", image, label, (2.0, 1.0, 1.0), {"annotators": masks})
    assert softened([case])[0].extras["soft"][0].max() > 0.5


def test_annotators_who_agree_nowhere_leave_it_to_the_label():
    case = replace(case_of((rings() > 0).astype(np.uint8)), extras={"annotators": np.zeros((2, 40, 40), np.uint8)})
    case.extras["annotators"][0, 10:14, 10:14] = case.extras["annotators"][1, 20:24, 20:24] = 1
    with pytest.warns(UserWarning, match=r"in 1 of 1 cases \(rings\) no pixel was marked by all annotators"):
        (soft,) = softened([case])
    np.testing.assert_array_equal(soft.extras["soft"], softened([case], annotators=False)[0].extras["soft"])


def test_a_soft_mask_that_is_there_is_kept():
    own = np.full((40, 40), 0.25, np.float32)
    case = replace(case_of((rings() > 0).astype(np.uint8)), extras={"soft": own})
    (kept,) = softened([case])
    assert kept is case


def test_small_nodules_stay_in_their_soft_masks():
    cases = phantoms.nodules(24, seed=0)

    def worst(core: float) -> float:
        return min(dice(c.extras["soft"] > 0.5, c.label) for c in softened(cases, core=core, annotators=False))

    assert worst(0.0) < 0.4  # most of the smallest nodule's pixels are within 3 of its border
    assert worst(1 / 3) > 0.7


def test_eps_is_nine_times_the_noises_variance():
    image = np.linspace(-1000, 0, 100).reshape(10, 10)
    assert noise_eps(image, 33) == pytest.approx(9 * 0.033**2)
    assert noise_eps(image / 1000 + 1, 0.033) == pytest.approx(9 * 0.033**2)
    with pytest.raises(ValueError, match=r"noise=0 came .*such as noise=33"):
        noise_eps(image, 0)


def test_what_cannot_be_softened_is_said():
    case = case_of(rings())
    with pytest.raises(ValueError, match=r"holds class 2, but classes=2 came .* Pass classes=3"):
        softened([case])
    with pytest.raises(ValueError, match="the background counts as a class: pass classes=2"):
        softened([case], classes=1)
    with pytest.raises(ValueError, match="no label to soften. Leave it out"):
        softened([replace(case, label=None)])
    two = replace(case, image=np.stack([case.image] * 2))
    with pytest.raises(ValueError, match=r"2 channels, .* Choose one, replace\(case, image=case.image\[0\]\)"):
        softened([two], classes=3)


def test_a_volume_is_softened_in_3d_on_request():
    z, y, x = np.mgrid[:12, :32, :32] - np.array([6, 16, 16]).reshape(3, 1, 1, 1)
    label = (np.sqrt((2 * z) ** 2 + y**2 + x**2) < 9).astype(np.uint8)
    image = gaussian_filter(label.astype(np.float32), (0.7, 1.4, 1.4))
    case = Case("ball", image, label, (2.0, 1.0, 1.0))
    (soft,) = softened([case], radius=2, eps=1e-3, window="volume")
    shell = trimap_from_mask(label, 2, spacing=case.spacing)
    expected = soft_mask(image, shell, 1e-3, window="volume", spacing=case.spacing)
    np.testing.assert_array_equal(soft.extras["soft"], expected)
    of_slices = softened([case], radius=2, eps=1e-3)[0].extras["soft"]
    assert abs(expected - image).mean() < 0.8 * abs(of_slices - image).mean()
