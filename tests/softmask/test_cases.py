"""Soft masks for cases that have labels alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dsnotes.data.case import Case
from dsnotes.softmask import soft_mask, softened, trimap_from_mask


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


def test_what_cannot_be_softened_is_said():
    case = case_of(rings())
    with pytest.raises(ValueError, match=r"holds class 2, but classes=2 came .* Pass classes=3"):
        softened([case])
    with pytest.raises(ValueError, match="the background is a class too: pass classes=2"):
        softened([case], classes=1)
    with pytest.raises(ValueError, match="no label to soften. Leave it out"):
        softened([replace(case, label=None)])
    two = replace(case, image=np.stack([case.image] * 2))
    with pytest.raises(ValueError, match=r"2 channels, .* choose one, replace\(case, image=case.image\[0\]\)"):
        softened([two], classes=3)
