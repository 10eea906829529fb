"""Where the lines of a still picture run, measured in millimetres, and that they read on any page."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.viewers import style
from dsnotes.viewers.focus import focus
from dsnotes.viewers.scene import compose
from dsnotes.viewers.slices import picture


def pixels(figure) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(style.png(figure))).convert("RGB")).astype(int)


def contours(axes) -> list:
    from matplotlib.contour import ContourSet

    return [drawn for drawn in axes.collections if isinstance(drawn, ContourSet)]


def bounds(drawn) -> tuple[float, ...]:
    """left, right, top, bottom of a contour in mm."""
    corners = np.concatenate([path.vertices for path in drawn.get_paths()])
    return (*np.quantile(corners[:, 0], (0, 1)), *np.quantile(corners[:, 1], (0, 1)))


def test_the_planes_go_through_the_lesion(volume):
    """The centroid of the box, or the nearest voxel of it."""
    z, y, x = focus(compose(volume))
    assert volume.label[z, y, x] == 1
    assert (y, x) in {(14, 28), (14, 29), (15, 28), (15, 29)}


def test_of_all_slices_the_largest_section_is_shown(volume):
    label = np.zeros(volume.space, np.uint8)
    label[3, 5, 5] = label[12, 20:24, 20:24] = label[15, 9, 9] = 1
    assert focus(compose(replace(volume, label=label))) in {(12, y, x) for y in (21, 22) for x in (21, 22)}


def test_a_ring_is_cut_through_its_wall_not_through_its_hole():
    y, x = np.mgrid[:33, :33]
    ring = np.abs(np.hypot(y - 16, x - 16) - 10) < 1.5
    label = np.zeros((5, 33, 33), np.uint8)
    label[2] = ring
    case = Case("ring", np.zeros(label.shape, np.float32), label, (1.0, 1.0, 1.0))
    assert label[focus(compose(case))] == 1


def test_the_highest_label_is_the_focus_and_the_prediction_when_there_is_no_truth(volume):
    label = volume.label.copy()
    label[2, 3, 4] = 2
    assert focus(compose(replace(volume, label=label))) == (2, 3, 4)
    assert focus(compose(replace(volume, label=None), prediction=(label == 2))) == (2, 3, 4)


def test_without_any_foreground_the_centre_is_shown(volume):
    assert focus(compose(replace(volume, label=volume.label * 0))) == (10, 16, 20)
    assert focus(compose(replace(volume, label=None))) == (10, 16, 20)


def test_lines_run_where_the_lesion_ends_in_millimetres(volume):
    """The box is 8:14, 10:20, 22:36 voxels of 2.5 x 1 x 0.5 mm: 20…35, 10…20, 11…18 mm."""
    figure = picture(compose(volume), at=(10, 15, 30))
    depth, height, width = (20.0, 35.0), (10.0, 20.0), (11.0, 18.0)
    expected = [(*width, *height), (*width, *depth), (*height, *depth)]
    for axes, mm in zip(figure.axes, expected, strict=True):
        (truth,) = contours(axes)
        assert bounds(truth) == pytest.approx(mm, abs=1e-3)


def test_a_lesion_at_the_border_is_closed_there(slice_):
    label = np.zeros(slice_.space, np.uint8)
    label[:4, :4] = 1
    (truth,) = contours(picture(compose(replace(slice_, label=label))).axes[1])
    assert bounds(truth) == pytest.approx((0, 2, 0, 4), abs=1e-3)


def test_proportions_are_true_and_the_head_is_on_top(volume):
    figure = picture(compose(volume))
    style.png(figure)  # lays it out
    for axes, (rows, columns) in zip(figure.axes, [(32, 20), (50, 20), (50, 32)], strict=True):
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(rows / columns, rel=0.01)
    axial, coronal, sagittal = figure.axes
    assert axial.yaxis_inverted()
    assert not coronal.yaxis_inverted()
    assert not sagittal.yaxis_inverted()
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "axial 8 / 19",
        "coronal 14 / 31",
        "sagittal 28 / 39",
    ]


def test_zoom_shows_so_many_millimetres_and_stays_within_the_volume(volume):
    first, _, _ = picture(compose(volume), at=(1, 2, 3), zoom=5.0).axes
    assert first.get_xlim() == (0, pytest.approx(6.75))
    axial, coronal, _ = picture(compose(volume), at=(10, 15, 39), zoom=5.0).axes
    assert axial.get_xlim() == (pytest.approx(14.75), pytest.approx(20.0))
    assert coronal.get_ylim() == (pytest.approx(21.25), pytest.approx(31.25))


def test_a_slice_is_drawn_bare_and_with_its_layers(slice_):
    bare, drawn = picture(compose(slice_, prediction=slice_.label)).axes
    assert contours(bare) == []
    truth, prediction = contours(drawn)
    assert truth.linestyles == "-"
    assert prediction.linestyles != truth.linestyles
    assert len(picture(compose(replace(slice_, label=None))).axes) == 1


def test_every_layer_has_a_line_style_of_its_own(slice_):
    readers = [np.roll(slice_.label, k, 1) for k in range(4)]
    scene = compose(slice_, prediction=slice_.label, readers=readers)
    figure = picture(scene)
    styles = [str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in figure.legends[0].get_lines()]
    assert len(set(styles)) == 6
    assert [text.get_text() for text in figure.legends[0].get_texts()][:3] == ["truth", "prediction", "reader 1"]


def test_a_soft_mask_has_lines_at_a_quarter_a_half_and_three(slice_):
    ramp = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (32, 1))
    drawn = contours(picture(compose(replace(slice_, label=None), soft=ramp)).axes[1])
    assert [float(line.levels[0]) for line in drawn] == [0.25, 0.5, 0.75]
    at_half = (drawn[1].get_paths()[0].vertices[:, 0]).min()
    assert at_half == pytest.approx(20 * 0.5, abs=0.01)  # half of 40 columns of 0.5 mm


def test_names_stand_beside_their_labels(volume):
    label = volume.label.copy()
    label[8:14, 10:20, 4:12] = 2
    figure = picture(compose(replace(volume, label=label), names={1: "kidney", 2: "tumour"}), at=(10, 15, 8))
    assert {text.get_text() for text in figure.axes[0].texts} >= {"kidney", "tumour"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "kidney", "tumour"]


def test_forty_labels_are_drawn_and_the_caption_says_that_colours_repeat():
    label = np.repeat(np.arange(41, dtype=np.uint8), 4)[None].repeat(20, 0)
    case = Case("forty", np.zeros(label.shape, np.float32), label, (1.0, 1.0))
    figure = picture(compose(case))
    assert len(contours(figure.axes[1])) == 40
    assert "40 labels: colours repeat" in figure.get_suptitle()
    assert figure.legends[0].get_texts()[-1].get_text() == "… and 32 more"


def test_broken_voxels_are_red(slice_):
    whole = pixels(picture(compose(slice_, window="soft")))
    slice_.image[:8, :8] = np.nan
    spoilt = pixels(picture(compose(slice_, window="soft"), layers=()))
    red = np.array([213, 94, 0])  # vermilion of Okabe and Ito
    assert not (whole == red).all(-1).any()
    assert (spoilt == red).all(-1).sum() > 100


def test_the_page_and_the_readers_style_change_nothing(slice_):
    """Dark letters on a white card under any style: it reads on a light and on a dark page."""
    import matplotlib.style

    usual = pixels(picture(compose(slice_)))
    with matplotlib.style.context("dark_background"):
        dark = pixels(picture(compose(slice_)))
    assert (usual == dark).all()
    assert (usual[0, 0] == 255).all()


def test_a_layer_that_is_switched_off_is_gone(slice_):
    scene = compose(slice_, prediction=np.roll(slice_.label, 3, 0))
    both, truth = pixels(picture(scene)), pixels(picture(scene, layers=("truth",)))
    assert len(contours(picture(scene, layers=("truth",)).axes[-1])) == 1
    assert both.shape != truth.shape or (both != truth).any()


def test_at_must_be_a_voxel(volume):
    with pytest.raises(ValueError, match=r"at=\(20, 0, 0\) is not a voxel of 'box', whose grid is \(20, 32, 40\)"):
        picture(compose(volume), at=(20, 0, 0))
    with pytest.raises(ValueError, match="Pass one index per axis"):
        picture(compose(volume), at=(1, 2))


def test_the_letters_say_where_the_patients_right_front_and_head_are(volume):
    """Width counts to the patient's left, height to the back, depth to the head; the head is on top."""
    figure = picture(compose(volume))
    wanted = {"axial": "RLA", "coronal": "RLS", "sagittal": "APS"}
    for axes, (plane, ends) in zip(figure.axes, wanted.items(), strict=True):
        at = {text.get_text(): text.get_position() for text in axes.texts if len(text.get_text()) == 1}
        left, right, top = ends
        assert set(at) == set(ends), plane
        assert at[left][0] < at[top][0] < at[right][0]
        assert at[top][1] > 0.9


def test_names_that_would_lie_over_each_other_are_left_to_the_legend(volume):
    label = volume.label.copy()
    label[8:14, 14:20, 22:36] = 2  # ends at the same column as label 1, close below
    figure = picture(compose(replace(volume, label=label), names={1: "organ", 2: "tumour"}))
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text() in ("organ", "tumour")]
        assert len(names) <= 2
    sagittal = figure.axes[2]
    assert [t.get_text() for t in sagittal.texts if t.get_text() in ("organ", "tumour")] == ["organ"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {"organ", "tumour"}
