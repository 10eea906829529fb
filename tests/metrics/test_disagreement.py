"""Energy distance and CRPS against SciPy, closed forms, and what they must be 0 for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import integrate, stats

from dsnotes.metrics import crps, energy_distance, iou, threshold_masks

RNG = np.random.default_rng(0)
MASKS = RNG.random((4, 12, 12)) < np.linspace(0.3, 0.7, 4).reshape(-1, 1, 1)


def test_energy_distance_is_the_papers_sum_over_all_pairs():
    """Kohl et al. 2018, eq. 4, written with the library's IoU of masks."""
    samples, annotators = MASKS[:3], MASKS[1:]

    def mean(a, b):
        return np.mean([1 - iou(x, y) for x, y in product(a, b)])

    expected = 2 * mean(samples, annotators) - mean(samples, samples) - mean(annotators, annotators)
    assert np.isclose(energy_distance(samples, annotators), expected)


def test_the_annotators_themselves_are_at_distance_zero():
    assert abs(energy_distance(MASKS, MASKS)) < 1e-12
    assert energy_distance(MASKS[:1], MASKS) > 0.05
    empty = np.zeros((2, 3, 3), bool)
    assert energy_distance(empty, empty) == 0


def test_for_one_sample_and_one_annotator_it_is_twice_the_distance():
    assert np.isclose(energy_distance(MASKS[:1], MASKS[1:2]), 2 * (1 - iou(MASKS[0], MASKS[1])))
    soft = [np.array([0.5, 0.25])], [np.array([0.25, 0.25])]
    assert np.isclose(energy_distance(*soft), 2 * (1 - 0.5 / 0.75))


def test_the_fair_distance_of_two_draws_from_one_distribution_is_zero_on_average():
    p = RNG.random((6, 6))
    fair, plain = [], []
    for _ in range(300):
        masks = RNG.random((6, 6, 6)) < p
        fair.append(energy_distance(masks[:2], masks[2:], fair=True))
        plain.append(energy_distance(masks[:2], masks[2:]))
    error = np.std(fair) / np.sqrt(len(fair))
    assert abs(np.mean(fair)) < 3 * error
    assert np.mean(plain) > 20 * error


def test_crps_is_half_the_squared_energy_distance_of_scipy():
    x, y = RNG.normal(size=30), RNG.normal(size=4)
    expected = np.mean([stats.energy_distance(x, [at]) ** 2 / 2 for at in y])
    assert np.isclose(crps(x, y), expected)
    assert crps([3.0], 5.0) == 2


def test_crps_of_many_normal_samples_is_the_closed_form():
    """Gneiting and Raftery 2007, eq. 21: σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π)."""
    x = 10 + 2 * stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    for y in (7.0, 10.0, 15.0):
        z = (y - 10) / 2
        closed = 2 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
        assert np.isclose(crps(x, y), closed, rtol=1e-3)
        whole = integrate.quad(lambda v, y=y: (stats.norm.cdf(v, 10, 2) - (v >= y)) ** 2, -10, 40, points=[y])[0]
        assert np.isclose(closed, whole, rtol=1e-5)


def test_the_fair_crps_of_few_samples_has_the_mean_of_many():
    many = crps(stats.norm.ppf((np.arange(4000) + 0.5) / 4000), 0.5)
    draws = RNG.normal(size=(4000, 3))
    fair = [crps(x, 0.5, fair=True) for x in draws]
    assert abs(np.mean(fair) - many) < 3 * np.std(fair) / np.sqrt(len(fair))
    assert np.mean([crps(x, 0.5) for x in draws]) > many + 0.1


def test_wrong_inputs_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match="0 annotator masks came, needed are 1"):
        energy_distance(MASKS, [])
    with pytest.raises(ValueError, match="1 sample masks came, needed are 2"):
        energy_distance(MASKS[:1], MASKS, fair=True)
    with pytest.raises(ValueError, match=r"\(12, 12\).*\(3, 3\).*same grid"):
        energy_distance(MASKS, np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="One grid|one grid"):
        energy_distance([np.zeros((2, 2)), np.zeros((3, 3))], MASKS)
    with pytest.raises(ValueError, match="label == 1"):
        energy_distance(2 * MASKS.astype(int), MASKS)
    with pytest.raises(ValueError, match="one observation or more"):
        crps([1.0, 2.0], [])
    with pytest.raises(ValueError, match="2 finite numbers"):
        crps([1.0], 1.0, fair=True)
    assert len(threshold_masks(np.full((2, 2), 0.5), 4)) == 4
