"""Overlap against a case counted by hand, medpy, scikit-learn's formulas, and the identities between the ratios."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from medpy.metric import binary

from dsnotes.metrics import Confusion, accuracy, confusion, dice, iou, ppv, sensitivity

# Two rows of four: 3 voxels found, 1 falsely marked, 2 missed, 2 rightly left.
TRUTH = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=np.uint8)
PREDICTION = np.array([[1, 1, 0, 1], [1, 0, 0, 0]], dtype=np.uint8)
EMPTY = np.zeros_like(TRUTH)


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=3, max_side=6))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


def test_the_case_counted_by_hand():
    assert confusion(PREDICTION, TRUTH) == Confusion(tp=3, fp=1, fn=2, tn=2)
    assert dice(PREDICTION, TRUTH) == 6 / 9
    assert iou(PREDICTION, TRUTH) == 3 / 6
    assert ppv(PREDICTION, TRUTH) == 3 / 4
    assert sensitivity(PREDICTION, TRUTH) == 3 / 5
    assert accuracy(PREDICTION, TRUTH) == 5 / 8


def test_mu_nets_epsilon_is_one_above_and_below():
    """DICE = (2TP + e) / (T + P + e), PPV = (TP + e) / (TP + FP + e), SEN, IoU = (TP + e) / (T + P - TP + e)."""
    assert dice(PREDICTION, TRUTH, eps=1) == 7 / 10
    assert iou(PREDICTION, TRUTH, eps=1) == 4 / 7
    assert ppv(PREDICTION, TRUTH, eps=1) == 4 / 5
    assert sensitivity(PREDICTION, TRUTH, eps=1) == 4 / 6
    assert accuracy(PREDICTION, TRUTH, eps=1) == 6 / 9


@pytest.mark.parametrize("metric", [dice, iou, ppv, sensitivity, accuracy])
@pytest.mark.parametrize("eps", [0, 1])
def test_two_empty_masks_agree_perfectly(metric, eps):
    assert metric(EMPTY, EMPTY, eps=eps) == 1


@pytest.mark.parametrize(
    ("metric", "missed", "invented"),
    [(dice, 0, 0), (iou, 0, 0), (ppv, 0, 0), (sensitivity, 0, 0), (accuracy, 3 / 8, 3 / 8)],
)
def test_an_empty_mask_against_another_is_the_worst(metric, missed, invented):
    """Also where the ratio itself is 0 / 0: the PPV of nothing marked, the sensitivity to nothing there."""
    assert metric(EMPTY, TRUTH) == missed
    assert metric(TRUTH, EMPTY) == invented


def test_an_epsilon_takes_nothing_marked_for_perfectly_precise():
    assert ppv(EMPTY, TRUTH, eps=1) == 1
    assert dice(EMPTY, TRUTH, eps=1) == 1 / 6


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_medpy_and_the_identities_agree(pair):
    prediction, truth = pair
    d, j = dice(prediction, truth), iou(prediction, truth)
    assert d == pytest.approx(dice(truth, prediction))
    assert d == pytest.approx(2 * j / (1 + j))
    assert ppv(prediction, truth) == sensitivity(truth, prediction)
    assert accuracy(prediction, truth) == pytest.approx((prediction == truth).mean())
    if prediction.any() and truth.any():
        assert d == pytest.approx(binary.dc(prediction, truth))
        assert j == pytest.approx(binary.jc(prediction, truth))
        assert ppv(prediction, truth) == pytest.approx(binary.precision(prediction, truth))
        assert sensitivity(prediction, truth) == pytest.approx(binary.recall(prediction, truth))
        if d:
            mean = 2 / (1 / ppv(prediction, truth) + 1 / sensitivity(prediction, truth))
            assert d == pytest.approx(mean)  # F1: the harmonic mean


@settings(max_examples=40, deadline=None)
@given(mask_pairs())
def test_counts_are_those_of_a_table_of_pairs(pair):
    prediction, truth = pair
    table = np.bincount(2 * truth.ravel().astype(int) + prediction.ravel(), minlength=4)  # tn, fp, fn, tp
    assert confusion(prediction, truth) == Confusion(*(int(n) for n in table[[3, 1, 2, 0]]))


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.int64, np.uint16])
def test_any_whole_number_type_gives_the_same(kind):
    assert dice(PREDICTION.astype(kind), TRUTH.astype(kind)[::1]) == 6 / 9
    assert dice(np.asfortranarray(PREDICTION.astype(kind)), TRUTH) == 6 / 9


def test_different_grids_are_refused():
    with pytest.raises(ValueError, match=r"prediction has shape \(2, 3\), the truth \(2, 4\).*undo the crop"):
        dice(PREDICTION[:, :3], TRUTH)


def test_several_classes_are_refused():
    with pytest.raises(ValueError, match=r"truth holds the values \[0, 1, 2\].*truth == 2, or score them all"):
        dice(TRUTH, np.array([[0, 1, 2, 0]] * 2))
    with pytest.raises(ValueError, match=r"prediction holds the values \[0, 1, 2, 3, 4, … 9\]"):
        dice(np.arange(10), np.arange(10))
    with pytest.raises(ValueError, match=r"prediction holds the values \[-1, 0, 1\]"):
        dice(np.array([-1, 0, 1]), np.array([0, 0, 1]))


def test_probabilities_are_refused():
    with pytest.raises(TypeError, match=r"prediction is float32.*prediction >= 0.5.*dsnotes.to_label\(prediction\)"):
        dice(PREDICTION.astype(np.float32), TRUTH)
    with pytest.raises(ValueError, match=r"truth holds NaN in 2 of 8 voxels.*np.argwhere\(np.isnan\(truth\)\)"):
        dice(PREDICTION, np.array([[0.0, np.nan, 1.0, np.nan]] * 1 + [[0.0] * 4]))
    with pytest.raises(TypeError, match=r"prediction is <U1; needed is a label map of whole numbers"):
        dice(PREDICTION.astype("U1"), TRUTH)
