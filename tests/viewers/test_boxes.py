"""Box plots: the medians in words, every case as a point, an empty group refused."""

import numpy as np
import pytest

from dsnotes.viewers import boxes


def test_every_case_is_a_point_and_the_medians_are_said():
    picture = boxes({"kidney": {"ours": [0.8, 0.9, 0.95], "theirs": [0.7, 0.8]}, "tumour": {"ours": [0.5]}}, y="Dice")
    (axes,) = picture.figure.axes
    points = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert sorted(len(line.get_ydata()) for line in points) == [1, 2, 3]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["kidney", "tumour"]
    assert "kidney ours: median 0.9" in picture.alt
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_linewidth() == 2]
    assert sorted(medians) == sorted([0.9, np.median([0.7, 0.8]), 0.5])


def test_nothing_to_draw_is_answered():
    with pytest.raises(ValueError, match="nothing to draw. Pass {group: {series: values}}"):
        boxes({"kidney": {"ours": []}})
