"""Tumours drawn by hand, and the phantoms' own account of their scales."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsnotes.data import phantoms
from dsnotes.metrics import dice, ppv, sensitivity, tumour_scale, tumour_scores


def test_scales_at_their_bounds():
    assert [tumour_scale(mm) for mm in (3, 16.9, 17, 29.9, 30, 80)] == ["small"] * 2 + ["medium"] * 2 + ["large"] * 2
    assert tumour_scale(25, bounds=(5, 20)) == "large"


def test_the_phantoms_scales_are_found_again():
    for case in phantoms.lung(4, seed=2, size=(96, 96, 96)):
        found = tumour_scores(case.label, case.label, spacing=case.spacing)
        sizes = sorted((t["diameter_mm"], t["scale"]) for t in case.extras["tumours"])
        assert [score.scale for score in sorted(found)] == [scale for _, scale in sizes]
        for score, (mm, _) in zip(sorted(found), sizes, strict=True):
            assert score.diameter_mm == pytest.approx(mm, abs=1.5)  # voxels of 2.7 mm
            assert score[2:] == (1, 1, 1)


def test_a_cube_is_as_large_as_the_ball_of_its_volume():
    truth = np.zeros((9, 9, 9), bool)
    truth[2:5, 2:5, 2:5] = True
    (score,) = tumour_scores(truth, truth, spacing=(2.0, 1.0, 1.0))
    assert score.diameter_mm == pytest.approx((6 * 54 / math.pi) ** (1 / 3))
    (flat,) = tumour_scores(truth[3], truth[3], spacing=(1.0, 1.0))
    assert flat.diameter_mm == pytest.approx(2 * math.sqrt(9 / math.pi))


def test_one_tumour_scores_as_its_case_does_without_strays():
    truth = sum((x - 8) ** 2 for x in np.indices((16, 16, 16))) <= 25
    prediction = np.roll(truth, 2, axis=1)
    (score,) = tumour_scores(prediction, truth, spacing=(1, 1, 1))
    assert score[2:] == pytest.approx([f(prediction, truth) for f in (dice, ppv, sensitivity)])


def drawn():
    """A row of 20: tumours at 2–4 and 9–12, marked 3–10 in one piece, and a stray mark at 17."""
    truth, prediction = np.zeros((2, 1, 20), np.uint8)
    truth[0, 2:5] = truth[0, 9:13] = 1
    prediction[0, 3:11] = prediction[0, 17] = 1
    return prediction, truth


def test_a_mark_across_two_tumours_is_shared_by_nearness():
    """3–6 lies nearer to the first (6 as near to 4 as 2 voxels, to 9 as 3), 7–10 to the second."""
    prediction, truth = drawn()
    first, second = tumour_scores(prediction, truth, spacing=(1, 1))
    assert first[2:] == pytest.approx((2 * 2 / (4 + 3), 2 / 4, 2 / 3))
    assert second[2:] == pytest.approx((2 * 2 / (4 + 4), 2 / 4, 2 / 4))


def test_what_touches_no_tumour_is_nobodys():
    prediction, truth = drawn()
    alone = prediction.copy()
    alone[0, 17] = 0
    assert tumour_scores(prediction, truth, spacing=(1, 1)) == tumour_scores(alone, truth, spacing=(1, 1))
    prediction[0, 3:11] = 0  # the stray remains
    assert [score[2:] for score in tumour_scores(prediction, truth, spacing=(1, 1))] == [(0, 0, 0)] * 2
    assert tumour_scores(prediction, 0 * truth, spacing=(1, 1)) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tumour_scale(0), "diameter_mm=0: pass a positive diameter"),
        (lambda: tumour_scale(5, bounds=(30, 17)), r"bounds=\(30, 17\).*increasing.*bounds=\(17\.0, 30\.0\)"),
        (lambda: tumour_scores(*drawn(), spacing=(1, 1, 1)), r"spacing=\(1, 1, 1\).*\(1, 20\).*case\.spacing"),
        (lambda: tumour_scores(drawn()[0], drawn()[1][:, 1:], spacing=(1, 1)), "same grid"),
        (lambda: tumour_scores(2 * drawn()[0], drawn()[1], spacing=(1, 1)), "a mask holds 0 and 1"),
    ],
)
def test_errors_say_what_to_do(call, said):
    with pytest.raises(ValueError, match=said):
        call()
