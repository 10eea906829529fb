"""Resampling against SciPy's splines on the same millimetres, and the way back."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from dsnotes.data.case import Case
from dsnotes.data.files import open_case, save_label
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.resample import Grid, onto, resample, restore

OLD, NEW = (3.0, 1.0, 0.8), (2.0, 1.5, 1.1)


def blobs(space=(9, 24, 30), channels=(), seed=0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((*channels, *space))
    return scipy.ndimage.gaussian_filter(noise, 1.5, axes=range(-len(space), 0)).astype("f4") * 100


def case_of(image: np.ndarray, spacing=OLD, **extras) -> Case:
    label = (image.reshape(-1, *image.shape[-len(spacing) :])[0] > 5).astype("u1")
    return Case("a", image, label, spacing, extras)


def coordinates(space, old, new, new_space) -> np.ndarray:
    """Where the voxels of the new grid lie on the old one, when both share their middle."""
    axes = [
        ((np.arange(m) - (m - 1) / 2) * b + (n - 1) / 2 * a) / a
        for n, a, b, m in zip(space, old, new, new_space, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


@pytest.mark.parametrize("order", [0, 1, 3])
def test_image_against_scipy(order):
    case = case_of(blobs())
    out = resample(case, NEW, image_order=order)
    at = coordinates(case.space, OLD, NEW, out.space)
    mode = "mirror" if order == 3 else "nearest"
    oracle = scipy.ndimage.map_coordinates(case.image.astype("f8"), at, order=order, mode=mode)
    oracle = np.clip(oracle, case.image.min(), case.image.max())
    inside = np.all([(a >= 0) & (a <= n - 1) for a, n in zip(at, case.space, strict=True)], 0)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(out.image[inside], oracle[inside], atol=2e-3)
    assert out.spacing == NEW
    assert out.space == tuple(round(n * a / b) for n, a, b in zip(case.space, OLD, NEW, strict=True))


def test_beyond_the_border_the_nearest_voxel_counts():
    case = case_of(np.full((5, 6, 7), -1000.0, "f4"))
    for order in (0, 1, 3):
        assert set(np.unique(resample(case, (1.9, 0.7, 0.3), image_order=order).image)) == {-1000.0}


def test_a_spline_stays_within_the_range_of_the_image():
    edge = np.zeros((1, 1, 40), "f4")
    edge[..., 20:] = 1000
    image = resample(case_of(edge), (3.0, 1.0, 0.3)).image
    assert (image.min(), image.max()) == (0, 1000)


def test_labels_by_the_nearest_voxel():
    case = case_of(blobs())
    out = resample(case, NEW)
    at = coordinates(case.space, OLD, NEW, out.space)
    oracle = scipy.ndimage.map_coordinates(case.label, at, order=0, mode="nearest")
    tie = np.any(np.abs(at - np.floor(at) - 0.5) < 1e-6, 0)
    np.testing.assert_array_equal(out.label[~tie], oracle[~tie])
    assert out.label.dtype == np.uint8


def test_labels_by_the_largest_share_against_scipy():
    label = np.digitize(blobs(), [-10, 0, 10]).astype("u1")
    case = replace(case_of(blobs()), label=label)
    out = resample(case, NEW, label_rule="linear")
    at = coordinates(case.space, OLD, NEW, out.space)
    shares = [scipy.ndimage.map_coordinates((label == k).astype("f8"), at, order=1, mode="nearest") for k in range(4)]
    first, second = np.sort(shares, 0)[:-3:-1]
    clear = first - second > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(out.label[clear], np.argmax(shares, 0)[clear])
    assert (resample(case, NEW).label != out.label).any()


def test_of_two_equal_shares_the_lower_class_wins():
    case = Case("a", np.zeros((1, 2), "f4"), np.array([[2, 1]], "u1"), (1.0, 1.0))
    np.testing.assert_array_equal(resample(case, (1.0, 2.0), label_rule="linear").label, [[1]])


def test_extras_come_along():
    soft = np.stack([blobs() > 0, blobs() <= 0]).astype("f4")
    readers = np.stack([blobs() > 1, blobs() > 2, blobs() > 3]).astype("u1")
    case = case_of(blobs(), alpha=soft[0], soft=soft, readers=readers, note="kept")
    out = resample(case, NEW)
    assert out.extras["alpha"].shape == out.space
    assert out.extras["readers"].shape == (3, *out.space)
    assert set(np.unique(out.extras["readers"])) == {0, 1}
    np.testing.assert_allclose(out.extras["soft"].sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(out.extras["alpha"], out.extras["soft"][0])
    assert out.extras["note"] == "kept"
    assert "grid" not in case.extras


def test_positions_in_voxels_are_moved():
    """A dot of one voxel's brightness and the positions that point at it stay together."""
    image = np.zeros((9, 24, 30), "f4")
    image[6, 15, 20] = 100
    recist = {"long_axis": ((15, 20), (3, 4)), "short_axis": ((9.5, 12), (10, 8)), "slice": 6, "long_mm": 9.0}
    case = case_of(image, recist=recist, tumours=[{"centre": (6, 15, 20), "scale": "small"}], lungs=image > 0)
    out = resample(case, (1.0, 0.5, 0.4), image_order=1)
    brightest = np.argwhere(out.image > 0.9 * out.image.max()).mean(0)
    ((tumour,), moved) = out.extras["tumours"], out.extras["recist"]
    np.testing.assert_allclose(tumour["centre"], brightest, atol=1e-3)
    assert (tumour["scale"], moved["long_mm"]) == ("small", 9.0)
    np.testing.assert_allclose(moved["long_axis"][0], brightest[1:], atol=1e-3)
    assert moved["slice"] == round(brightest[0])
    length = [
        np.linalg.norm(np.subtract(*axis["long_axis"]) * mm) for axis, mm in ((recist, OLD[1:]), (moved, (0.5, 0.4)))
    ]
    assert length[0] == pytest.approx(length[1])
    assert out.extras["lungs"].shape == out.space


def test_channels_and_pictures():
    several = resample(case_of(blobs(channels=(2,))), NEW)
    alone = resample(case_of(blobs(channels=(2,))[1]), NEW)
    np.testing.assert_array_equal(several.image[1], alone.image)
    picture = resample(case_of(blobs((20, 30)), (1.0, 1.0)), (2.0, 0.5))
    assert picture.space == (10, 60)


def test_the_same_spacing_changes_nothing():
    case = case_of(blobs())
    assert resample(case, tuple(mm * (1 + 1e-6) for mm in OLD)) is case
    assert restore(case.label, case) is case.label


@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
)
def test_any_grid_and_back(space, old, new):
    case = Case("a", np.ones(space, "f4"), np.ones(space, "u1"), old)
    out = resample(case, new)
    assert out.label.min() == 1
    back = restore(out.label, out)
    assert back.shape == space
    assert back.min() == 1
    shares = np.random.default_rng(0).random((3, *out.space)).astype("f4")
    shares /= shares.sum(0)
    np.testing.assert_allclose(restore(shares, out).sum(0), 1, atol=1e-5)


def test_back_through_two_resamplings_in_one_step():
    ramp = np.broadcast_to(np.arange(24, dtype="f4"), (6, 24, 24)).copy()
    case = Case("a", ramp, None, (1.0, 1.0, 1.0))
    twice = resample(resample(case, (1.0, 1.0, 0.7), image_order=1), (2.0, 1.0, 1.6), image_order=1)
    assert twice.extras["grid"] == Grid((6, 24, 24), (1.0, 1.0, 1.0))
    np.testing.assert_allclose(restore(twice.image, twice)[..., 4:-4], ramp[..., 4:-4], atol=1e-4)


def test_a_line_goes_back_where_it_was():
    """A linear ramp survives linear interpolation exactly, so any shift of half a voxel would show."""
    ramp = np.broadcast_to(np.arange(24, dtype="f4"), (6, 24, 24)).copy()
    case = Case("a", ramp, None, (1.0, 1.0, 1.0))
    for new in ((1.0, 1.0, 0.5), (1.0, 1.0, 2.0), (1.0, 1.0, 0.7)):
        out = resample(case, new, image_order=1)
        np.testing.assert_allclose(restore(out.image, out)[..., 3:-3], ramp[..., 3:-3], atol=1e-4)


def test_from_a_file_to_a_prediction_in_that_file(tmp_path):
    image = sitk.GetImageFromArray(blobs((12, 20, 24)))
    image.SetSpacing((0.9, 1.2, 2.5))
    image.SetDirection((0, 0, 1, -1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    case = open_case(tmp_path / "a.nii.gz")
    ready = Preprocess(spacing=(1.0, 1.0, 1.0), normalise="image")(case)
    predicted = (ready.image > 0.5).astype("u1")
    saved = sitk.ReadImage(str(save_label(tmp_path / "b.nii.gz", restore(predicted, ready), ready)))
    truth = sitk.GetArrayFromImage(image)
    truth = truth > truth.mean() + 0.5 * truth.std()
    found = sitk.GetArrayFromImage(saved)
    assert found.shape == truth.shape
    assert 2 * (found * truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_onto_the_same_grid_is_the_same_array():
    grid, array = Grid((2, 3), (1.0, 1.0)), np.ones((2, 3), "f4")
    assert onto(array, grid, grid, order=1) is array


def test_a_single_slice_stays_one():
    case = case_of(blobs((1, 20, 20)))
    assert resample(case, (9.0, 1.0, 1.0)).space == (1, 20, 16)


def test_wrong_settings():
    case = case_of(blobs())
    with pytest.raises(
        ValueError, match=r"spacing \(1\.0, 1\.0\) came for case a, which has 3 spatial axes.*such as \(3\.0"
    ):
        resample(case, (1.0, 1.0))
    with pytest.raises(ValueError, match=r"resampling case a: spacing \(1\.0, 0\.0, 1\.0\) came"):
        resample(case, (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match=r"image_order=2, .*pass an order of \[0, 1, 3\] and 'nearest' or 'linear'"):
        resample(case, NEW, image_order=2)
    with pytest.raises(ValueError, match=r"label_rule='mode': pass an order"):
        resample(case, NEW, label_rule="mode")
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\) came for case a with the grid \(9, 24, 30\)\. Pass"):
        restore(np.ones((2, 2, 2)), case)


def test_two_voxels_of_an_axis_are_joined_by_a_line():
    """ITK's spline takes foreign memory into account there."""
    case = Case("a", np.random.default_rng(0).random((8, 2, 8)).astype("f4"), None, (1.0, 1.0, 1.0))
    spline, line = (resample(case, (2.0, 1.0, 1.0), image_order=order).image for order in (3, 1))
    np.testing.assert_array_equal(spline, line)
