"""Surface distances against MONAI, medpy, SciPy and distances one can see."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from medpy.metric import binary
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.distance import directed_hausdorff

from dsnotes.metrics import (
    hausdorff,
    hausdorff95,
    mean_surface_distance,
    nearest_voxel,
    surface,
    surface_dice,
    surface_distances,
    wrong_near_contour,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI warns on import of what it does not find
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

MEASURES = (hausdorff, hausdorff95, mean_surface_distance)


def blobs(seed, shape, share=0.2):
    """Smooth random masks, as ragged as a bad segmentation."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, *shape)), (0, *[1.5] * len(shape)))
    return noise > np.quantile(noise, 1 - share)


@st.composite
def mask_pairs_with_spacing(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7))
    spacing = draw(st.tuples(*[st.sampled_from([0.5, 0.78, 1.0, 2.5, 5.0])] * len(shape)))
    pair = draw(arrays(bool, shape)), draw(arrays(bool, shape))
    assume(pair[0].any() and pair[1].any())
    return *pair, spacing


def monais(function, prediction, truth, spacing, **options):
    p, t = (torch.from_numpy(m)[None, None] for m in (prediction, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about its own calls
        return function(p, t, include_background=True, spacing=list(spacing), **options).item()


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 50), (1.0, 1.0)), ((24, 30, 20), (3.0, 0.78, 0.78)), ((24, 30, 20), (1.0, 1.0, 1.0))]
)
@pytest.mark.parametrize("seed", range(3))
def test_monai_and_medpy_agree(shape, spacing, seed):
    prediction, truth = blobs(seed, shape)
    ours = hausdorff(prediction, truth, spacing=spacing)
    assert ours == pytest.approx(monais(compute_hausdorff_distance, prediction, truth, spacing), rel=1e-5)
    assert ours == pytest.approx(binary.hd(prediction, truth, voxelspacing=spacing))
    assert hausdorff95(prediction, truth, spacing=spacing) == pytest.approx(
        monais(compute_hausdorff_distance, prediction, truth, spacing, percentile=95), rel=1e-5
    )
    mean = mean_surface_distance(prediction, truth, spacing=spacing)
    assert mean == pytest.approx(
        monais(compute_average_surface_distance, prediction, truth, spacing, symmetric=True), rel=1e-5
    )
    assert mean == pytest.approx(binary.assd(prediction, truth, voxelspacing=spacing))


@settings(max_examples=50, deadline=None)
@given(mask_pairs_with_spacing())
def test_it_is_the_hausdorff_distance_of_the_surfaces_points(given):
    """SciPy's, between the points of medpy's surfaces; symmetric, and never below its 95th percentile."""
    prediction, truth, spacing = given
    points = [np.argwhere(m ^ _eroded(m)) * np.array(spacing) for m in (prediction, truth)]
    there, back = (directed_hausdorff(*pair)[0] for pair in (points, points[::-1]))
    ours = hausdorff(prediction, truth, spacing=spacing)
    assert ours == pytest.approx(max(there, back))
    assert ours == hausdorff(truth, prediction, spacing=spacing)
    distances = surface_distances(prediction, truth, spacing=spacing)
    assert [len(d) for d in distances] == [len(p) for p in points]
    assert [d.max() for d in distances] == pytest.approx([there, back])
    assert mean_surface_distance(prediction, truth, spacing=spacing) <= ours + 1e-12
    assert hausdorff95(prediction, truth, spacing=spacing) <= ours + 1e-12


def _eroded(mask):
    from scipy.ndimage import binary_erosion

    return binary_erosion(mask)


@settings(max_examples=40, deadline=None)
@given(mask_pairs_with_spacing(), st.integers(0, 3), st.sampled_from([0.5, 2.0, 10.0]))
def test_moving_both_changes_nothing_and_larger_voxels_scale_it(given, shift, factor):
    prediction, truth, spacing = given
    moved = [np.pad(m, [(shift + 1, 2)] * m.ndim) for m in (prediction, truth)]
    larger = tuple(s * factor for s in spacing)
    for measure in MEASURES:
        value = measure(prediction, truth, spacing=spacing)
        assert measure(*moved, spacing=spacing) == pytest.approx(value)
        assert measure(prediction, truth, spacing=larger) == pytest.approx(factor * value)


@pytest.mark.parametrize("tolerance", [0.0, 0.8, 1.0, 3.1])  # no distance lies on these borders but 0
@pytest.mark.parametrize("seed", range(3))
def test_surface_dice_is_monais(seed, tolerance):
    prediction, truth = blobs(seed, (24, 30, 20))
    spacing = (3.0, 0.78, 0.78)
    expected = monais(compute_surface_dice, prediction, truth, spacing, class_thresholds=[tolerance])
    assert surface_dice(prediction, truth, spacing=spacing, tolerance=tolerance) == pytest.approx(expected, rel=1e-5)


def test_surface_dice_of_empty_masks_and_a_wrong_tolerance():
    full, empty = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    assert surface_dice(empty, empty, spacing=(1, 1)) == 1
    assert surface_dice(full, empty, spacing=(1, 1)) == 0
    with pytest.raises(ValueError, match="tolerance=1.0"):
        surface_dice(full, full, spacing=(1, 1), tolerance=-1)


def test_a_cube_and_one_moved_are_as_far_as_the_move():
    truth = np.zeros((20, 20, 20), dtype=np.uint8)
    truth[4:10, 4:10, 4:10] = 1
    assert hausdorff(np.roll(truth, 3, 0), truth, spacing=(2.5, 1, 1)) == 7.5
    assert hausdorff(np.roll(truth, 3, 2), truth, spacing=(2.5, 1, 1)) == 3
    assert hausdorff(truth, truth, spacing=(1, 1, 1)) == 0
    assert mean_surface_distance(truth, truth, spacing=(1, 1, 1)) == 0
    far = truth.copy()
    far[19, 19, 19] = 1
    assert hausdorff(far, truth, spacing=(1, 1, 1)) == pytest.approx(math.sqrt(300))
    assert hausdorff95(far, truth, spacing=(1, 1, 1)) == 0


def test_a_far_outlier_among_many_surface_voxels_is_found():
    """The shortcut that leaves most distances unmeasured must not leave out the one that counts."""
    for seed in range(5):
        prediction, truth = blobs(seed, (40, 44, 30), share=0.4)
        truth &= np.indices(truth.shape).sum(0) < 60
        spacing = (2.0, 0.7, 0.7)
        every = max(d.max() for d in surface_distances(prediction, truth, spacing=spacing))
        assert hausdorff(prediction, truth, spacing=spacing) == every > 5


def test_only_some_of_the_distances_are_worked_out(monkeypatch):
    import scipy.spatial

    asked = []

    class Counting(scipy.spatial.cKDTree):
        def query(self, x, *args, **options):
            asked.append(len(x))
            return super().query(x, *args, **options)

    monkeypatch.setattr(scipy.spatial, "cKDTree", Counting)
    monkeypatch.setattr(surface, "SMALL", math.inf)
    prediction, truth = blobs(0, (40, 44, 30), share=0.4)
    truth &= np.indices(truth.shape).sum(0) < 60
    surface_distances(prediction, truth, spacing=(1, 1, 1))
    every = sum(asked)
    asked.clear()
    hausdorff(prediction, truth, spacing=(1, 1, 1))
    assert sum(asked) < every / 3


@pytest.mark.parametrize("measure", MEASURES)
def test_empty_masks(measure):
    empty, some = np.zeros((4, 5), dtype=bool), np.eye(4, 5, dtype=bool)
    assert measure(empty, empty, spacing=(1, 1)) == 0
    assert measure(empty, some, spacing=(1, 1)) == math.inf
    assert measure(some, empty, spacing=(1, 1)) == math.inf


def test_the_border_of_the_array_is_a_border_of_the_mask():
    """SciPy's erosion, and so MONAI's and medpy's, takes what lies outside for background."""
    full, hollow = np.ones((9, 9), dtype=bool), np.ones((9, 9), dtype=bool)
    hollow[2:7, 2:7] = False
    assert hausdorff(full, hollow, spacing=(1, 1)) == binary.hd(full, hollow) == 1


def test_wrong_input_is_answered_with_the_remedy():
    mask = np.ones((3, 3), dtype=np.uint8)
    for spacing in ((1.0, 1.0, 1.0), (1.0, 0.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match=r"spacing .* came.*2 positive numbers.*spacing=case.spacing"):
            hausdorff(mask, mask, spacing=spacing)
    with pytest.raises(ValueError, match=r"prediction has shape \(3, 2\), the truth \(3, 3\)"):
        hausdorff95(mask[:, :2], mask, spacing=(1, 1))
    with pytest.raises(TypeError, match=r"truth is float64"):
        mean_surface_distance(mask, mask.astype(float), spacing=(1, 1))


def test_a_shifted_mask_is_wrong_at_its_contour_and_an_invented_one_is_not():
    truth = np.zeros((20, 40), bool)
    truth[4:12, 4:12] = True
    assert wrong_near_contour(np.roll(truth, 1, axis=1), truth, spacing=(1, 1), within=1) == 1
    invented = truth.copy()
    invented[4:12, 30:38] = True
    assert wrong_near_contour(invented, truth, spacing=(1, 1)) == 0
    assert wrong_near_contour(invented, truth, spacing=(1, 0.1), within=2.05) == 2 / 8, "19 and 20 voxels away"
    assert math.isnan(wrong_near_contour(truth, truth, spacing=(1, 1)))
    assert math.isnan(wrong_near_contour(truth, ~(truth | ~truth), spacing=(1, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_wrong_voxels_near_the_contour_are_those_of_scipys_distance_transform(seed):
    prediction, truth = blobs(seed, (12, 20, 16), share=0.1)
    spacing = (2.5, 0.7, 1.0)
    far = distance_transform_edt(~(truth & ~binary_erosion(truth)), sampling=spacing)
    expected = (far[prediction != truth] <= 2).mean()
    assert 0 < expected < 1
    assert wrong_near_contour(prediction, truth, spacing=spacing) == pytest.approx(expected)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.78, 0.78), (0.5, 2.0, 5.0)])
def test_neighbours_looked_at_in_order_and_a_tree_find_the_same(spacing, monkeypatch):
    """One voxel is farther off than the neighbours' reach."""
    monkeypatch.setattr(surface, "SMALL", 100)
    prediction, truth = blobs(0, (40, 44, 30), share=0.3)
    truth &= np.indices(truth.shape).sum(0) < 60
    prediction[-1, -1, -1] = True
    found = surface_distances(prediction, truth, spacing=spacing)
    assert min(map(len, found)) > surface.SMALL
    assert found[0].max() > nearest_voxel.REACH * math.prod(spacing) ** (1 / 3)
    monkeypatch.setattr(surface, "SMALL", math.inf)
    for ours, trees in zip(found, surface_distances(prediction, truth, spacing=spacing), strict=True):
        np.testing.assert_allclose(ours, trees, rtol=1e-14)


def test_in_a_plane_too():
    rng = np.random.default_rng(0)
    points, marked = (np.unique(rng.integers(0, 90, (4000, 2)), axis=0) for _ in range(2))
    marked = marked[marked[:, 0] < 40]
    found = nearest_voxel.nearest_distance(points, marked, (0.7, 1.5))
    exact = cKDTree(marked * (0.7, 1.5)).query(points * (0.7, 1.5))[0]
    reached = exact <= nearest_voxel.REACH * math.sqrt(0.7 * 1.5)
    assert 0.3 < reached.mean() < 0.9
    np.testing.assert_allclose(found[reached], exact[reached], rtol=1e-14)
    assert np.isinf(found[~reached]).all()


@pytest.mark.parametrize("name", ["sarcoma_ct", "spleen_ct_crop"])
def test_on_real_masks_they_are_those_of_scipys_distance_transform(name, real_data, monkeypatch):
    """Of a label and the same label moved, larger on one side: the neighbours are looked at whatever the size."""
    from dsnotes.data import open_dataset

    monkeypatch.setattr(surface, "SMALL", 0)
    case = open_dataset(real_data(name))[0]
    truth = case.label > 0
    prediction = np.roll(truth, (1, -3, 2), (0, 1, 2))
    prediction[:, : truth.shape[1] // 2] &= truth[:, : truth.shape[1] // 2]
    rims = [m & ~binary_erosion(m) for m in (prediction, truth)]
    expected = [distance_transform_edt(~b, sampling=case.spacing)[a] for a, b in (rims, rims[::-1])]
    found = surface_distances(prediction, truth, spacing=case.spacing)
    for ours, scipys in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, scipys, rtol=1e-12, atol=1e-12)
    assert max(map(len, found)) > 500
    close = np.concatenate(expected) <= 1.0 + 1e-9
    assert surface_dice(prediction, truth, spacing=case.spacing) == close.mean()
    assert 0 < close.mean() < 1
