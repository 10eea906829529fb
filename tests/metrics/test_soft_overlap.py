"""Overlap of soft masks: equal to the hard coefficients for masks, and best at the target for shares."""

from __future__ import annotations

import numpy as np
import pytest

from dsnotes.metrics import area_error, dice, iou, share_error, soft_dice_score, soft_iou_score

RNG = np.random.default_rng(0)


def test_for_masks_they_are_dice_and_iou():
    p, t = RNG.random((2, 20, 20)) < 0.3
    assert np.isclose(soft_dice_score(p, t), dice(p, t))
    assert np.isclose(soft_iou_score(p, t), iou(p, t))
    assert soft_dice_score(p & False, t & False) == soft_iou_score(p & False, t & False) == 1


@pytest.mark.parametrize("score", [soft_dice_score, soft_iou_score])
def test_a_share_of_one_half_is_matched_best_by_one_half(score):
    t, grid = np.full(8, 0.5), np.linspace(0, 1, 101)
    values = [score(np.full(8, p), t) for p in grid]
    assert grid[np.argmax(values)] == 0.5
    assert max(values) == 1
    product = [2 * (p * t).sum() / (8 * p + t.sum()) for p in grid]  # as in most losses
    assert grid[np.argmax(product)] == 1


def test_soft_iou_is_one_minus_the_jaccard_distance_of_scipy():
    """Weighted Jaccard is a function of Bray-Curtis: J = B' / (2 - B') with B' = 1 - B."""
    from scipy.spatial.distance import braycurtis

    p, t = RNG.random((2, 50))
    similarity = 1 - braycurtis(p, t)
    assert np.isclose(soft_dice_score(p, t), similarity)
    assert np.isclose(soft_iou_score(p, t), similarity / (2 - similarity))


def test_errors_of_share_and_area():
    p, t = np.array([0.5, 0.25, 0.0]), np.array([0.25, 0.5, 0.0])
    assert np.isclose(share_error(p, t), 0.5 / 3)
    assert share_error(p, t, where=t) == 0.25
    assert area_error(p, t) == 0
    assert area_error(p * 2, t) == 1
    with pytest.raises(ValueError, match="the target is empty"):
        area_error(p, t * 0)
