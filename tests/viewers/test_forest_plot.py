"""The forest plot: every seed is a point, the interval is the effect's, and the words say what is seen."""

import numpy as np

from dsnotes.metrics.effects import against
from dsnotes.viewers.forest_plot import forest_plot


def test_every_seed_is_a_point_and_the_bar_is_the_interval():
    rng = np.random.default_rng(0)
    rows = {
        name: {seed: {f"case{c}": 0.6 + gain + rng.normal(0, 0.004) for c in range(8)} for seed in range(3)}
        for name, gain in (("none", 0), ("better", 0.1), ("same", 0))
    }
    effects = against("none", rows)
    picture = forest_plot(effects, reference="none", title="Does it help?")
    (axes,) = picture.figure.axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    for line, one in zip(points, effects.values(), strict=True):
        assert tuple(line.get_xdata()) == one.by_seed
    (bar,) = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bar[:, 0], [effects["better"].low, effects["better"].high])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["better", "same"]
    assert picture.alt.startswith("Does it help? better helps: +0.1")
    assert forest_plot({}, reference="none").alt == "no effects"
