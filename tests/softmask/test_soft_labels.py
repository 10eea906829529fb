"""Soft labels without matting: the formulas, several classes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from dsnotes.data import Case, phantoms
from dsnotes.softmask import averaged_labels, blurred_labels, hard_labels, smoothed_labels


def half(classes=2):
    label = np.zeros((8, 40), np.uint8)
    label[:, 20:] = classes - 1
    return Case("half", np.zeros((8, 40), np.float32), label, (1.0, 0.5))


def test_smoothing_moves_the_share_of_every_voxel_to_the_middle():
    assert np.unique(smoothed_labels([half()], smoothing=0.2)[0].extras["soft"]).tolist() == pytest.approx([0.1, 0.9])
    three = smoothed_labels([half(3)], smoothing=0.3, classes=3)[0].extras["soft"]
    np.testing.assert_allclose(three[:, 0, 0], [0.8, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_array_equal(hard_labels([half()])[0].extras["soft"], half().label)


def test_a_blurred_edge_is_the_normal_distribution_in_millimetres():
    soft = blurred_labels([half()], sigma=2.0)[0].extras["soft"]
    x = 0.5 * (np.arange(40) - 19.5)
    np.testing.assert_allclose(soft[4], norm.cdf(x / 2.0), atol=2e-3)
    np.testing.assert_allclose(blurred_labels([half(3)], classes=3)[0].extras["soft"].sum(0), 1, rtol=1e-6)


def test_the_mean_of_the_annotators_is_the_share_that_marked():
    case = phantoms.nodules(1, seed=0)[0]
    made = averaged_labels([case])[0]
    np.testing.assert_array_equal(made.extras["soft"], case.extras["readers"].mean(0))
    assert made.extras["soft"].dtype == np.float32
    assert made.label is case.label
    assert "soft" not in case.extras


def test_wrong_inputs_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"half has no annotators.*blurred_labels"):
        averaged_labels([half()])
    with pytest.raises(ValueError, match="Pass classes=3"):
        blurred_labels([half(3)])
    with pytest.raises(ValueError, match=r"sigma=0.*mm"):
        blurred_labels([half()], sigma=0)
    with pytest.raises(ValueError, match=r"smoothing=2.*from 0 to 1"):
        smoothed_labels([half()], smoothing=2)
