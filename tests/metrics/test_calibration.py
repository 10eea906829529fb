"""Calibration against scikit-learn, torchmetrics and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss
from torchvision_on_cpu import require_torchvision

from dsnotes.metrics import boundary_band, brier, by_class, expected_calibration_error, log_score, reliability


def drawn(n=5000, seed=0, sharpness=2.0):
    """Probabilities and labels of an over-confident forecast."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 0.5, n)
    true = 1 / (1 + (1 / p - 1) ** (1 / sharpness))
    return p, rng.random(n) < true


def softmaxed(shape=(4, 30, 20), seed=1):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 2, shape))
    return logits.softmax(0).numpy(), rng.integers(0, shape[0], shape[1:])


def test_brier_and_log_score_of_one_class_are_those_of_scikit_learn():
    p, t = drawn()
    assert np.isclose(brier(p, t), brier_score_loss(t, p))
    assert np.isclose(log_score(p, t), sklearn_log_loss(t, p))


def test_brier_and_log_score_of_four_classes_are_those_of_scikit_learn():
    p, label = softmaxed()
    rows, classes = p.reshape(4, -1).T, np.arange(4)
    whole = brier_score_loss(label.ravel(), rows, labels=classes, scale_by_half=False)
    assert np.isclose(brier(p, label), whole)
    assert np.isclose(log_score(p, label), sklearn_log_loss(label.ravel(), rows, labels=classes))


def test_both_scores_are_lowest_at_the_share_itself():
    t, grid = np.full(10, 0.3), np.linspace(0.01, 0.99, 99)
    for score in (brier, log_score):
        assert np.isclose(grid[np.argmin([score(np.full(10, p), t) for p in grid])], 0.3)


def test_a_wrong_certainty_costs_a_known_amount_and_not_infinity():
    assert np.isclose(log_score(np.zeros(1), np.ones(1)), -np.log(1e-7))


@pytest.mark.parametrize(("equal_mass", "strategy"), [(False, "uniform"), (True, "quantile")])
def test_bins_are_those_of_scikit_learn(equal_mass, strategy):
    p, t = drawn()
    frequency, confidence = calibration_curve(t, p, n_bins=12, strategy=strategy)
    found = reliability(p, t, bins=12, equal_mass=equal_mass)
    np.testing.assert_allclose(found.frequency, frequency)
    np.testing.assert_allclose(found.confidence, confidence)
    assert found.count.sum() == len(p)


def test_the_expected_calibration_error_is_that_of_torchmetrics():
    require_torchvision()  # torchmetrics imports it
    from torchmetrics.functional.classification import binary_calibration_error

    p, t = drawn()
    theirs = binary_calibration_error(torch.from_numpy(p), torch.from_numpy(t.astype(int)), n_bins=15, norm="l1")
    assert np.isclose(expected_calibration_error(p, t, bins=15), theirs.item())


def test_a_soft_target_counts_by_its_share():
    p = np.array([0.2, 0.2, 0.8, 0.8])
    assert np.isclose(expected_calibration_error(p, np.array([0.1, 0.3, 0.6, 0.8])), 0.05)


def test_a_bin_without_spread_has_no_bias_and_no_warning():
    found = reliability(np.full(50, 0.9), np.ones(50))
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert found.bias == pytest.approx(0, abs=1e-9)
    assert found.debiased == pytest.approx(0.1)


def test_the_floor_and_the_bias_are_what_a_calibrated_forecast_shows_on_average():
    """The floor is the mean plug-in error over draws; E of both folded normals leaves 2 - √2 of it after correction."""
    rng = np.random.default_rng(3)
    p = rng.random(600)
    found = [reliability(p, rng.random(600) < p, bins=10) for _ in range(300)]
    plug_in = np.mean([f.error for f in found])
    assert np.isclose(np.mean([f.floor for f in found]), plug_in, rtol=0.04)
    remaining = np.mean([f.error - f.bias for f in found])
    assert np.isclose(remaining, (2 - np.sqrt(2)) * plug_in, rtol=0.08)


def test_the_debiased_error_is_nearer_to_the_true_one():
    """A constant gap of 0.05 in every bin, few voxels."""
    rng = np.random.default_rng(4)
    p = rng.uniform(0.1, 0.85, 400)
    found = [reliability(p, rng.random(400) < p + 0.05, bins=10) for _ in range(200)]
    plug_in, debiased = np.mean([f.error for f in found]), np.mean([f.debiased for f in found])
    assert plug_in > 0.06
    assert abs(debiased - 0.05) < 0.6 * (plug_in - 0.05)


def test_intervals_of_independent_voxels_are_wilsons():
    p, t = drawn(n=400)
    found = reliability(p, t, bins=5, level=0.9)
    for n, frequency, low, high in zip(found.count, found.frequency, found.low, found.high, strict=True):
        theirs = stats.binomtest(round(n * frequency), int(n)).proportion_ci(0.9, method="wilson")
        np.testing.assert_allclose((low, high), theirs)


def test_intervals_cover_the_truth_when_voxels_of_a_case_are_alike():
    """Half of a case's voxels hold the same label: intervals by cases cover, those by voxels do not."""
    rng = np.random.default_rng(5)
    hits, naive = [], []
    for _ in range(200):
        p = [np.full(100, 0.4)] * 12
        t = [np.where(rng.random(100) < 0.5, rng.random() < 0.4, rng.random(100) < 0.4) for _ in p]
        found, alone = reliability(p, t, bins=1), reliability(np.concatenate(p), np.concatenate(t), bins=1)
        hits.append(found.low[0] <= 0.4 <= found.high[0])
        naive.append(alone.low[0] <= 0.4 <= alone.high[0])
    assert 0.9 <= np.mean(hits) <= 0.99
    assert np.mean(naive) < 0.6


def test_by_class_scores_each_channel_against_its_mask():
    p, label = softmaxed()
    found = by_class(expected_calibration_error, p, label, labels={0: "background", 1: "a", 2: "b", 3: "c"}, bins=8)
    assert list(found) == ["background", "a", "b", "c"]
    assert found["b"] == expected_calibration_error(p[2], label == 2, bins=8)
    one = by_class(brier, [p[:1]], [label == 0])
    assert one == {"1": brier(p[0], label == 0)}


def test_the_band_holds_the_voxels_near_another_class_in_millimetres():
    label = np.zeros((5, 9), np.uint8)
    label[:, 4:] = 1
    assert boundary_band(label, spacing=(1, 1), width=1)[0].tolist() == [False] * 3 + [True] * 2 + [False] * 4
    assert boundary_band(label, spacing=(1, 0.5), width=1)[0].tolist() == [False] * 2 + [True] * 4 + [False] * 3
    assert not boundary_band(np.zeros((3, 3), int), spacing=(1, 1), width=1).any()
    label[0, 8] = 2
    assert boundary_band(label, spacing=(1, 1), width=1)[0, 8]


def test_scores_can_be_confined_to_a_region():
    p, t = np.array([0.0, 0.5, 1.0]), np.array([0, 1, 0])
    assert brier(p, t, where=np.array([1, 1, 0])) == 0.125
    assert brier([p, p], [t, t], where=[t, t == 0]) == np.mean([0.25, 0, 1])


@pytest.mark.parametrize("score", [brier, log_score, expected_calibration_error])
@pytest.mark.parametrize(
    ("p", "t", "message"),
    [
        (np.array([-2.0, 3.0]), np.array([0, 1]), r"values from -2 to 3.*logits\.sigmoid"),
        (np.array([0.5, np.nan]), np.array([0, 1]), "NaN in 1 of 2"),
        (np.array([0.5, 0.5]), np.array([0, 2]), "label == 1"),
        (np.full((3, 4), 0.5), np.zeros((3, 5)), r"\(3, 4\).*\(3, 5\).*undo the crop"),
        ([np.full(3, 0.5)], [np.zeros(3), np.zeros(3)], "one of each"),
        (np.zeros(0), np.zeros(0), "no voxel is left"),
    ],
)
def test_wrong_inputs_are_refused_with_a_remedy(score, p, t, message):
    with pytest.raises(ValueError, match=message):
        score(p, t)


def test_a_curve_of_several_classes_needs_a_choice():
    p, label = softmaxed()
    with pytest.raises(ValueError, match="by_class"):
        reliability(p, label)
    with pytest.raises(ValueError, match=r"holds 3\.0.*one class and its share"):
        brier(p, label.astype(float))
    with pytest.raises(ValueError, match="Pass bins=15"):
        reliability(p[0], label == 0, bins=0)
    with pytest.raises(ValueError, match="where has shape"):
        brier(p[0], label == 0, where=np.ones(3))
    with pytest.raises(ValueError, match="width=0"):
        boundary_band(label, spacing=(1, 1), width=0)
