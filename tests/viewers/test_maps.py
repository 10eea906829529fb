"""Maps of every depth side by side."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dsnotes.viewers import maps


def test_coarse_maps_have_their_values_written_into_them():
    coarse = torch.tensor([[0.0, 0.25], [0.5, 1.0]])
    shown = maps({"area": {"stride 8": coarse, "stride 1": torch.zeros(32, 32)}})
    first, second = shown.figure.axes
    assert [text.get_text() for text in first.texts] == [".25", ".50", "1"]
    assert [text.get_text() for text in second.texts] == []
    assert first.get_title() == "stride 8  (2 × 2)"
    assert first.get_ylabel() == "area"


def test_one_window_for_all_or_one_for_each():
    rows = {"image": np.array([[-1000.0, 40.0]]), "mask": np.array([[0.0, 1.0]])}
    assert {axes.images[0].get_clim() for axes in maps(rows).figure.axes} == {(-1000.0, 40.0)}
    assert [axes.images[0].get_clim() for axes in maps(rows, window="each").figure.axes] == [(-1000, 40), (0, 1)]
    assert [axes.images[0].get_clim() for axes in maps(rows, window=(0, 2)).figure.axes] == [(0, 2), (0, 2)]


def test_a_matrix_shows_the_names_of_what_meets_in_it_and_white_where_nothing_does():
    matrix = np.array([[0.2, np.nan, 0.4], [0.6, 0.8, np.nan]])
    (axes,) = maps({"m": matrix, "n": np.zeros((2, 2))}, names={"m": (["a", "b"], "xyz")}).figure.axes[:1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert [text.get_text() for text in axes.texts] == [".20", ".40", ".60", ".80"]
    assert axes.images[0].get_clim() == pytest.approx((0.0, 0.8))  # 0 is the other map's
    assert axes.get_title() == "m"  # and no size, which its names tell


def test_a_cell_of_zero_is_told_where_an_empty_one_means_that_there_is_none():
    matrix = np.array([[0.0, np.nan], [0.001, 0.999]])
    named, bare = maps({"named": matrix, "bare": matrix}, names={"named": ("ab", "xy")}).figure.axes
    assert [text.get_text() for text in named.texts] == ["0", "0", "1"]
    assert [text.get_text() for text in bare.texts] == ["1"]


def test_rows_of_unequal_length_leave_their_places_empty():
    shown = maps({"a": {"x": np.ones((2, 2)), "y": np.ones((2, 2))}, "b": {"x": np.ones((2, 2))}})
    assert [axes.get_visible() for axes in shown.figure.axes] == [True, True, True, False]


def test_leading_axes_of_one_are_dropped_and_gradients_are_no_obstacle():
    tensor = torch.ones(1, 1, 3, 4, requires_grad=True)
    assert maps({"side": tensor}).figure.axes[0].get_title() == "side"


def test_sizes_are_named_only_where_they_differ():
    fine, coarse = np.ones((26, 26)), np.ones((13, 13))
    assert [axes.get_title() for axes in maps({"a": fine, "b": fine}).figure.axes] == ["a", "b"]
    assert [axes.get_title() for axes in maps({"a": fine, "b": coarse}).figure.axes] == ["a  (26 × 26)", "b  (13 × 13)"]


def test_long_titles_do_not_run_into_their_neighbours():
    figure = maps({f"a rather long name of the map number {i}": np.ones((8, 8)) for i in range(5)}).figure
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: maps({"x": np.zeros((2, 3, 4))}), r"'x' has shape \(2, 3, 4\); a map is 2-D.* x\[0, 3\]"),
        (lambda: maps({}), r"no map to draw"),
        (lambda: maps({"x": np.zeros((2, 2))}, colours="jet"), r"colours='jet' is unknown\. Choose one of"),
        (lambda: maps({"x": np.zeros((2, 2))}, window="soft"), r"window='soft' is unknown here"),
        (
            lambda: maps({"x": np.zeros((2, 2))}, names={"x": (["a"], ["b", "c"])}),
            r"names of 'x': 1 for lines and 2 for columns, but the map has 2 × 2\. Pass one for each",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_a_long_title_is_broken_before_it_runs_off_the_sheet():
    title = "Share of detail: a row a nodule, a column a channel of the network"
    figure = maps({"b": np.zeros((8, 8))}, title=title).figure
    figure.draw_without_rendering()
    assert figure.get_suptitle().count("\n") >= 1
    assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1
