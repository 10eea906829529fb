"""Volumes of probabilities: their mean, the two extremes of their spread, coverage, and the bias over cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dsnotes.metrics import (
    VolumeBias,
    expected_volume,
    threshold_masks,
    volume_bias,
    volume_interval,
    volume_samples,
)

RNG = np.random.default_rng(0)


def test_the_expected_volume_is_the_sum_of_the_probabilities():
    p = RNG.random((2, 3, 4)).astype(np.float32)
    assert np.isclose(expected_volume(p, spacing=(5, 0.5, 2)), 5 * p.sum())
    assert expected_volume(p[None], spacing=(5, 0.5, 2)) == expected_volume(p, spacing=(5, 0.5, 2))


def test_when_voxels_err_together_the_samples_are_the_volumes_above_thresholds():
    p = RNG.random(500)
    samples = volume_samples(p.reshape(20, 25), spacing=(1, 2), n=40)
    masks = threshold_masks(p, 40)
    np.testing.assert_array_equal(samples, 2 * masks.sum(1)[::-1])
    assert (np.diff(samples) >= 0).all()
    assert np.isclose(samples.mean(), 2 * p.sum(), rtol=0.01)


def test_the_spread_of_independent_voxels_is_binomial_and_the_smaller_one():
    p = RNG.random((20, 25))
    independent = volume_samples(p, spacing=(1, 1), n=4000, together=False)
    assert np.isclose(independent.std(), np.sqrt((p * (1 - p)).sum()), rtol=0.01)
    drawn = (RNG.random((2000, 20, 25)) < p).sum((1, 2))
    np.testing.assert_allclose(volume_interval(independent), np.quantile(drawn, [0.05, 0.95]), atol=1.5)
    assert volume_samples(p, spacing=(1, 1)).std() > 5 * independent.std()


def test_the_interval_holds_the_level_of_the_samples():
    np.testing.assert_allclose(volume_interval(np.arange(101.0), level=0.9), (5, 95))


def test_the_bias_has_students_interval():
    true = RNG.uniform(50, 100, 12)
    predicted = true + RNG.normal(3, 5, 12)
    found = volume_bias(predicted, true)
    theirs = stats.ttest_1samp(predicted - true, 0).confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), theirs)
    np.testing.assert_allclose(found.limits, found.mean + 1.96 * found.sd * np.array([-1, 1]))
    assert isinstance(found, VolumeBias)
    assert np.isclose(volume_bias(1.1 * true, true, relative=True).mean, 0.1)


def test_wrong_inputs_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"Choose it: p\[1\]"):
        expected_volume(np.full((3, 4, 4), 0.3), spacing=(1, 1))
    with pytest.raises(ValueError, match=r"values from -1 to 2.*sigmoid"):
        volume_samples(np.array([[-1.0, 2.0]]), spacing=(1, 1))
    with pytest.raises(ValueError, match="n=0 samples"):
        threshold_masks(np.zeros((2, 2)), 0)
    with pytest.raises(ValueError, match="two volumes or more"):
        volume_interval([3.0])
    with pytest.raises(ValueError, match="two cases or more"):
        volume_bias([1.0], [2.0])
    with pytest.raises(ValueError, match="1 true volumes are 0"):
        volume_bias([1.0, 2.0], [0.0, 2.0], relative=True)
