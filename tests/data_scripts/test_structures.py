"""Contours and segments of DICOM become masks, on the slices they were drawn on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fetch.stack import Slices
from fetch.structures import draw, inside, read_outlines, read_segments
from made_here import OBLIQUE, PIXEL, STRAIGHT, places, rtstruct, seg

UID = "1.2.3.4.5"
SHAPE = (6, 40, 50)


def slices(axes=STRAIGHT, at=None) -> Slices:
    at = places(6, axes=axes) if at is None else at
    return Slices(UID, np.zeros((len(at), *SHAPE[1:]), np.int16), at, axes, PIXEL, 5.0, ())


def in_mm(pixels: np.ndarray, place: np.ndarray, axes=STRAIGHT) -> np.ndarray:
    """(k, 2) column, row of a slice -> (k, 3)."""
    return place + (np.asarray(pixels, float) * PIXEL) @ axes[:, :2].T


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels whose centres lie strictly within half-pixel borders."""
    mask = np.zeros(SHAPE[1:], bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] ^= True
    return mask


def test_a_triangle_by_hand():
    """Corners (0.5, 0.5), (3.5, 0.5), (0.5, 3.5): centres with x, y ≥ 1 and x + y < 4."""
    found = inside([np.array([(0.5, 0.5), (3.5, 0.5), (0.5, 3.5)])], (5, 5))
    y, x = np.mgrid[:5, :5]
    np.testing.assert_array_equal(found, (x >= 1) & (y >= 1) & (x + y < 4))


def test_any_polygon_is_filled_as_opencv_tells_inside_from_outside():
    """Also where it crosses itself: even-odd against a point test on every pixel of a simple polygon."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 15))
        radius = rng.uniform(4, 18, 15)
        corners = np.stack([25 + radius * np.cos(angles), 20 + radius * np.sin(angles)], 1)
        path = corners.astype(np.float32)
        expected = [[cv2.pointPolygonTest(path, (x, y), False) > 0 for x in range(50)] for y in range(40)]
        np.testing.assert_array_equal(inside([corners], (40, 50)), expected)


def test_a_polygon_that_leaves_the_image_is_cut_at_its_border():
    np.testing.assert_array_equal(inside([box(-9, -9, 3.5, 2.5)], (5, 6)), filled((0, 0, 4, 3))[:5, :6])
    np.testing.assert_array_equal(inside([box(3.5, 2.5, 99, 99)], (5, 6)), filled((4, 3, 6, 5))[:5, :6])


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE], ids=["axial", "oblique"])
def test_outlines_come_back_voxel_by_voxel(tmp_path, axes):
    at = places(6, axes=axes)
    regions = {
        "GTV-1": [
            in_mm(box(4.5, 9.5, 20.5, 30.5), at[2], axes),
            in_mm(box(8.5, 12.5, 12.5, 20.5), at[2], axes),  # a contour within another is a hole
            in_mm(box(5.5, 9.5, 20.5, 30.5), at[3], axes),
        ],
        "Heart": [in_mm(box(30.5, 3.5, 40.5, 8.5), at[0], axes)],
        "nothing": [],
        "a point": [at[0][None]],
    }
    path = tmp_path / "rt.dcm"
    path.write_bytes(rtstruct(regions, series=UID, uid="1.2.7"))
    outlines = read_outlines(path, series=UID)
    assert {name: len(contours) for name, contours in outlines.items()} == {
        "GTV-1": 3,
        "Heart": 1,
        "nothing": 0,
        "a point": 0,
    }
    mask = draw(outlines["GTV-1"], slices(axes, at))
    np.testing.assert_array_equal(mask[2], filled((5, 10, 21, 31), (9, 13, 13, 21)))
    np.testing.assert_array_equal(mask[3], filled((6, 10, 21, 31)))
    assert not mask[[0, 1, 4, 5]].any()


def test_contours_of_another_ct_are_refused(tmp_path):
    path = tmp_path / "rt.dcm"
    path.write_bytes(rtstruct({"GTV-1": []}, series="1.9.9", uid="1.2.7"))
    with pytest.raises(ValueError, match=rf"drawn on series 1\.9\.9, the CT that came is {UID}"):
        read_outlines(path, series=UID)
    path.write_bytes(seg({"a": np.ones(SHAPE, bool)}, places(6), uid="1.2.6"))
    with pytest.raises(ValueError, match="is not an RTSTRUCT but 'SEG'"):
        read_outlines(path, series=UID)


def test_a_contour_between_or_beyond_the_slices_is_refused():
    at = places(6)
    near, far = (in_mm(box(4.5, 9.5, 20.5, 30.5), at[5] + np.array([0, 0, off])) for off in (1.2, 2.0))
    assert draw([near], slices())[5].any()
    with pytest.raises(ValueError, match=rf"a contour lies 2 mm off the nearest slice of series {UID}"):
        draw([far], slices())


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE], ids=["axial", "oblique"])
def test_segments_come_back_by_their_place_and_not_by_their_number(tmp_path, axes):
    rng = np.random.default_rng(0)
    masks = {name: rng.random(SHAPE) < 0.2 for name in ("Kidney", "Mass")}
    at = places(6, axes=axes)
    path = tmp_path / "seg.dcm"
    path.write_bytes(seg(masks, at, axes=axes, uid="1.2.6"))
    found = read_segments(path, slices(axes, at))
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)
    assert list(read_segments(path, slices(axes, at), wanted=lambda name: name == "Mass")) == ["Mass"]


def test_segments_that_do_not_fit_their_ct_are_refused(tmp_path):
    path = tmp_path / "seg.dcm"
    mask = np.zeros(SHAPE, bool)
    mask[5] = True
    path.write_bytes(seg({"Mass": mask}, places(6), uid="1.2.6"))
    short = slices(at=places(4))
    with pytest.raises(ValueError, match=rf"'Mass' lies 5 mm and \S+ pixels off the nearest slice of series {UID}"):
        read_segments(path, short)
    aside = slices(at=places(6) + np.array([PIXEL[0], 0, 0]))
    with pytest.raises(ValueError, match="and 1 pixels off"):
        read_segments(path, aside)
    other = Slices(UID, np.zeros((6, 9, 9), np.int16), places(6), np.eye(3), PIXEL, 5.0, ())
    with pytest.raises(ValueError, match=rf"has 40 x 50 pixels, its series {UID} 9 x 9"):
        read_segments(path, other)
    empty = np.zeros(SHAPE, bool)
    path.write_bytes(seg({"Mass": empty}, places(6), uid="1.2.6"))
    assert not read_segments(path, short)["Mass"].any()  # frames without a pixel may lie anywhere
