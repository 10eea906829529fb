"""Slices counted by hand, and printed tables that one way of averaging explains."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsnotes.metrics import dice, ppv, sensitivity, slice_dice, slice_errors, slice_scores
from dsnotes.papers import msds_unet


def test_slices_counted_by_hand():
    """Six slices: found, missed, invented, empty, found (though marked elsewhere in the slice), missed."""
    truth, prediction = np.zeros((2, 6, 4, 4), dtype=np.uint8)
    truth[[0, 1, 4, 5], 1, 1] = 1
    prediction[0, 1, 1:3] = 1
    prediction[2, 0, 0] = 1
    prediction[4, 3, 3] = 1
    assert slice_errors(prediction, truth) == (2, 1, 2)
    assert slice_errors(np.moveaxis(prediction, 0, 2), np.moveaxis(truth, 0, 2), axis=-1) == (2, 1, 2)
    by_slice = slice_dice(prediction, truth)
    expected = [dice(p, t) if p.any() or t.any() else math.nan for p, t in zip(prediction, truth, strict=True)]
    np.testing.assert_array_equal(by_slice, expected)
    np.testing.assert_array_equal(slice_dice(np.moveaxis(prediction, 0, 1), np.moveaxis(truth, 0, 1), axis=1), expected)
    assert np.isnan(by_slice).tolist() == [False, False, False, True, False, False]


def patients():
    """Slices of 4 × 4: found, missed, invented; empty, found in part. Two patients."""
    truth, prediction = np.zeros((2, 5, 4, 4), np.uint8)
    truth[0, 1, 0:2], prediction[0, 1, 0:3] = 1, 1  # Dice 4 / 5
    truth[1, 2] = 1  # Dice 0
    prediction[2, 0, 0] = 1  # no tumour
    truth[4, 0], prediction[4, 0, 0] = 1, 1  # Dice 2 / 5
    return [(prediction[:3], truth[:3]), (prediction[3:], truth[3:])]


def test_scores_of_slices_worked_by_hand():
    with_tumour, every = slice_scores(patients(), only_tumour=True), slice_scores(patients())
    assert with_tumour == pytest.approx((1.2 / 3, 1.25 / 3, (2 / 3 + 1) / 3, 6 / 14, 1, 1, 3))
    assert every == pytest.approx((1.2 / 4, 1.25 / 3, (2 / 3 + 1) / 4, 6 / 15, 1, 1, 4))


def test_scores_of_slices_are_means_of_the_plain_metrics():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((2, 20, 6, 6)) < np.repeat([0.3, 0.0], 10)[:, None, None]
    rng.shuffle(prediction)
    every = slice_scores([(prediction, truth)])
    several = [(p, t) for p, t in zip(prediction, truth, strict=True) if p.any() or t.any()]
    assert every.slices == len(several) < 20
    assert every.dice == pytest.approx(np.mean([dice(p, t) for p, t in several]))
    assert every.ppv == pytest.approx(np.mean([ppv(p, t) for p, t in several]))
    assert every.sensitivity == pytest.approx(np.mean([sensitivity(p, t) for p, t in several if t.any()]))
    assert every.f1 == pytest.approx(dice(prediction, truth))
    assert every.dice == pytest.approx(np.nanmean(slice_dice(prediction, truth)))
    errors = slice_errors(prediction, truth)
    assert (every.false_positives, every.false_negatives) == errors[1:]
    turned = slice_scores([(np.moveaxis(prediction, 0, 2), np.moveaxis(truth, 0, 2))], axis=2)
    assert turned == pytest.approx(every)


def test_our_reading_of_table_11_fits_some_dice_and_neither_precision_nor_sensitivity():
    """Table 11 from table 10 if a falsely marked slice counted 0 and nothing else changed."""
    tumour = sum(row[1] for name, row in msds_unet.TABLES[9].rows.items() if "test" in name)
    fits = ("res-unet-3d", "msds-unet", "msds-unet-gm")
    expected_precision = dict(zip(fits, (0.542, 0.565, 0.571), strict=True))
    for system, (dice_10, sensitivity_10, precision_10, _, errors, _) in msds_unet.TABLES[10].rows.items():
        dice_11, sensitivity_11, precision_11, _ = msds_unet.TABLES[11].rows[system]
        share = tumour / (tumour + errors)
        assert (abs(share * dice_10 - dice_11) < 0.005) == (system in fits), system
        assert sensitivity_10 != sensitivity_11  # ours gives both tables one sensitivity
        if system in fits:
            assert share * precision_10 == pytest.approx(expected_precision[system], abs=5e-4)
            assert share * precision_10 - precision_11 > 0.05


def test_slices_without_any_tumour_have_no_score():
    empty = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"1 pairs came without a tumour.*\(prediction, truth\) pairs"):
        slice_scores([(empty + 1, empty)])
    with pytest.raises(ValueError, match="0 pairs came"):
        slice_scores([])
    with pytest.raises(ValueError, match=r"axis=2, but the masks have axes 0 to 1.*axis=0 counts axial"):
        slice_errors(empty[0] > 0, empty[0] > 0, axis=2)
    with pytest.raises(ValueError, match="axis=3, but the masks have axes 0 to 2"):
        slice_scores([(empty, empty)], axis=3)
