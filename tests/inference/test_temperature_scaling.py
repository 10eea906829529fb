"""Temperature and vector scaling: the optimum of scikit-learn and of a grid, and never worse than before."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies
from sklearn.linear_model import LogisticRegression

import dsnotes
from dsnotes.inference import Scaling, fit_temperature, fit_vector_scaling, recalibrated
from dsnotes.metrics import expected_calibration_error, log_score
from dsnotes.networks.unet import UNet
from dsnotes.supervision import Plain

FITS = (fit_temperature, fit_vector_scaling)


def drawn(channels=1, temperature=2.5, shift=0.0, seed=0, shape=(40, 50)):
    """Over-confident probabilities (channels, *space), and labels from the true ones."""
    g = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(channels, *shape, generator=g)
    true = z / temperature + shift * torch.arange(channels or 1).view(-1, *[1] * len(shape))
    if channels == 1:
        return z.sigmoid().numpy(), (torch.rand(shape, generator=g) < (z[0] / temperature + shift).sigmoid()).numpy()
    label = torch.distributions.Categorical(logits=true.movedim(0, -1))
    torch.manual_seed(seed)
    return z.softmax(0).numpy(), label.sample().numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_temperature_is_found_and_is_the_best_of_a_grid(channels):
    p, label = drawn(channels)
    scaling = fit_temperature(p, label)
    assert scaling.temperature == pytest.approx(2.5, rel=0.15)
    grid = np.geomspace(0.5, 10, 60)
    assert log_score(scaling(p), label) <= min(log_score(Scaling((1 / t,))(p), label) for t in grid) + 1e-6
    assert (scaling(p).argmax(0) == p.argmax(0)).all()


def test_a_slope_and_an_offset_are_those_of_a_logistic_regression():
    p, label = drawn(shift=0.7)
    z = np.log(p / (1 - p)).reshape(-1, 1)
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(z, label.ravel())
    ours = fit_vector_scaling(p, label)
    assert ours.slopes[0] == pytest.approx(theirs.coef_[0, 0], rel=1e-3)
    assert ours.offsets[0] == pytest.approx(theirs.intercept_[0], rel=1e-3)


def test_vector_scaling_mends_a_class_that_is_too_likely_and_a_temperature_cannot():
    p, label = drawn(3, shift=1.0)
    temperature, vector = (log_score(fit(p, label)(p), label) for fit in FITS)
    assert vector < temperature - 0.05


def test_scaling_by_temperature_mends_the_calibration_of_other_cases():
    p, label = drawn()
    scaling = fit_temperature(p, label)
    p, label = drawn(seed=1)
    before, after = (expected_calibration_error(x, label) for x in (p, scaling(p)))
    assert before > 0.1
    assert after < 0.4 * before


@pytest.mark.parametrize("fit", FITS)
@hypothesis.given(
    strategies.integers(0, 10**6), strategies.sampled_from([1, 2, 4]), strategies.sampled_from([0, 0.5, 1, 20])
)
def test_no_validation_set_gets_a_worse_log_score(fit, seed, channels, sharpness):
    """Also for labels that have nothing to do with the probabilities, one class alone, and certain probabilities."""
    rng = np.random.default_rng(seed)
    z = torch.from_numpy(sharpness * rng.normal(0, 2, (channels, 5, 6)))
    p = (z.sigmoid() if channels == 1 else z.softmax(0)).float().numpy()
    label = rng.integers(0, 1 + rng.integers(0, max(channels, 2)), (5, 6))
    assert log_score(fit(p, label)(p), label) <= log_score(p, label) + 1e-5


def test_calibrated_probabilities_are_left_alone():
    share = np.array([[0.2, 0.8], [0.4, 0.6]], np.float32)
    scaling = fit_vector_scaling(share[None], share)
    assert scaling.slopes[0] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(scaling(share[None])[0], share, atol=1e-4)


def test_a_system_deploys_the_scaled_probabilities():
    system = dsnotes.system("mine", UNet(width=2, depth=2), Plain())
    case = dsnotes.Case("one", np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32), None, (1.0, 1.0))
    scaling = Scaling((0.4,))
    found = dsnotes.predict(recalibrated(system, scaling), case)
    np.testing.assert_allclose(found, scaling(dsnotes.predict(system, case)), atol=1e-6)


def test_wrong_inputs_are_refused_with_a_remedy():
    p, label = drawn(3)
    with pytest.raises(ValueError, match="logits pass"):
        fit_temperature(5 * p, label)
    with pytest.raises(ValueError, match=r"\(3, 40, 50\).*dsnotes.predict"):
        fit_temperature(p, label[:5])
    with pytest.raises(ValueError, match="one of each per validation case"):
        fit_temperature([p], [label, label])
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        fit_temperature(p, label + 1)
    with pytest.raises(ValueError, match="no single temperature"):
        _ = Scaling((1.0, 2.0), (0.0, 1.0)).temperature
