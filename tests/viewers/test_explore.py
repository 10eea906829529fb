"""A picture that follows its sliders, and stills where nobody can slide."""

from __future__ import annotations

import pytest

from dsnotes.viewers.explore import _sliders, explore
from dsnotes.viewers.maps import draw as draw_maps
from dsnotes.viewers.notebook_display import css_width

CHOICES = {"stride": (1, 2, 4), "how": ("area", "max")}


def drawing(drawn: list):
    def draw(stride, how):
        drawn.append((stride, how))
        return draw_maps({f"{how} {stride}": [[0.0, 1.0]]})

    return draw


def test_a_script_draws_the_stills_alone():
    drawn = []
    pictures = explore(drawing(drawn), CHOICES, stills=[{"stride": 4}, {"how": "max"}], alt="targets")
    assert drawn == [(4, "area"), (1, "max")]
    assert [picture.alt for picture in pictures] == ["targets stride 4, how area", "targets stride 1, how max"]
    assert len(explore(drawing(drawn), CHOICES)) == 1


def test_a_slider_redraws_and_remembers():
    drawn = []
    box = _sliders(drawing(drawn), CHOICES, {"stride": 1, "how": "area"})
    stride, how, picture = box.children
    first = picture.value
    stride.value = 4
    assert picture.value != first
    how.value = "max"
    stride.value, how.value = 1, "area"
    assert picture.value == first
    assert drawn == [(1, "area"), (4, "area"), (4, "max"), (1, "max")]


def test_a_slider_ascends_and_begins_where_it_was_said():
    box = _sliders(
        lambda share, how: draw_maps({how: [[share]]}),
        {"share": (0.5, 0.01, 0.8), "how": ("b", "a")},
        {"share": 0.5, "how": "b"},
    )
    share, how, _ = box.children
    assert (share.options, share.value) == ((("0.01", 0.01), ("0.5", 0.5), ("0.8", 0.8)), 0.5)
    assert how.options == (("b", "b"), ("a", "a"))


def test_the_picture_beside_a_slider_is_as_wide_as_the_still():
    box = _sliders(lambda n: draw_maps({"map": [[n]], "wide": [[n]]}), {"n": (1, 2)}, {"n": 1})
    assert box.children[-1].layout.width == f"{css_width(draw_maps({'map': [[1]], 'wide': [[1]]}))}px"


def test_a_still_outside_the_choices_is_an_error():
    with pytest.raises(ValueError, match="'stride': 3"):
        explore(drawing([]), CHOICES, stills=[{"stride": 3}])
    with pytest.raises(ValueError, match="at least one value"):
        explore(drawing([]), {"stride": ()})
