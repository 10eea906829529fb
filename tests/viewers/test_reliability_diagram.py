"""Reliability diagrams: a panel per network, bins where their probabilities are, intervals as drawn."""

import numpy as np
import pytest

from dsnotes.metrics import reliability
from dsnotes.viewers import reliability_diagram

P = np.linspace(0.01, 0.99, 200)
T = (np.arange(200) * 0.61803 % 1 < P).astype(np.uint8)


def test_each_network_has_a_panel_with_its_bins_and_intervals():
    found = {name: reliability(P, T, bins=bins) for name, bins in (("binary", 5), ("matted", 10))}
    picture = reliability_diagram(found, title="Two networks")
    upper = picture.figure.axes[:2]
    for axes, curve in zip(upper, found.values(), strict=True):
        (container,) = axes.containers
        drawn, _, (bars,) = container
        np.testing.assert_allclose(drawn.get_xydata(), np.stack([curve.confidence, curve.frequency], 1))
        ends = np.array(bars.get_segments())[:, :, 1]
        np.testing.assert_allclose(ends, np.stack([curve.low, curve.high], 1), atol=1e-9)
    assert f"binary expected calibration error {found['binary'].error:.3f}" in picture.alt
    assert sum(bar.get_height() for bar in picture.figure.axes[2].patches) == len(P)


def test_one_curve_needs_no_name_and_none_is_refused():
    assert len(reliability_diagram(reliability(P, T)).figure.axes) == 2
    with pytest.raises(ValueError, match=r"nothing to draw. Pass reliability\(p, t\)"):
        reliability_diagram({})


def test_five_networks_stand_in_rows_of_three():
    found = {str(i): reliability(P, T) for i in range(5)}
    figure = reliability_diagram(found).figure
    panels = [axes for axes in figure.axes if axes.containers and axes.get_title(loc="left")]
    assert len(figure.axes) == 10
    assert [axes.get_subplotspec().colspan.start for axes in panels] == [0, 1, 2, 0, 1]
