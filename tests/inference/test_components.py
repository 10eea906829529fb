"""The reference is SciPy's labelling, with the rules written out slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dsnotes.inference import keep_kidneys, remove_small


def parts_of(mask):
    """The components of a mask as masks, in array order."""
    parts, n = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return [parts == i for i in range(1, n + 1)]


def kidneys_slowly(label, *, kidney=1, tumour=2, second_percent=None, literal=False):
    if second_percent is None:
        second_percent = 0 if literal else 10
    candidates = parts_of(label == kidney) if literal else parts_of(label != 0)
    candidates = [part for part in candidates if (label[part] == kidney).any()]
    candidates.sort(key=lambda part: -part.sum())  # stable: array order decides between equals
    kept = candidates[:1] + [p for p in candidates[1:2] if 100 * p.sum() >= second_percent * candidates[0].sum()]
    keep = np.zeros(label.shape, bool)
    for part in kept:
        keep |= part
    if literal:
        kidneys = keep.copy()
        for part in parts_of(label == tumour):
            if (ndimage.binary_dilation(part, np.ones((3,) * label.ndim)) & kidneys).any():
                keep |= part
    return np.where(keep, label, 0)


def small_slowly(label, voxels, radius):
    grid = np.indices((2 * radius + 1,) * label.ndim) - radius
    ball = (grid**2).sum(0) <= radius**2
    out = np.zeros_like(label)
    for value in np.unique(label[label > 0]):
        # "nearest" continues the mask beyond the border, so that nothing is worn away from outside
        mask = np.pad(label == value, radius, mode="constant", constant_values=True)
        eroded = ndimage.binary_erosion(mask, ball, border_value=1)
        inner = (slice(radius, -radius or None),) * label.ndim
        eroded_inside = np.zeros_like(mask)
        eroded_inside[inner] = eroded[inner]
        opened = ndimage.binary_dilation(eroded_inside, ball)[inner]
        for part in parts_of(opened):
            if part.sum() >= voxels:
                out[part] = value
    return out


@st.composite
def label_maps(draw):
    """Blobs of two values among scattered voxels, in 2-D and 3-D, sparse to dense."""
    shape = draw(st.sampled_from([(9, 11), (1, 12), (4, 7, 9), (1, 8, 8), (6, 6, 6)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    field = ndimage.gaussian_filter(rng.normal(size=shape), draw(st.sampled_from([0, 0.6, 1.0])))
    which = ndimage.gaussian_filter(rng.normal(size=shape), draw(st.sampled_from([0, 0.6, 1.0])))
    foreground = field > np.quantile(field, 1 - draw(st.floats(0, 0.7)))
    tumours = draw(st.sampled_from([0.0, 0.3, 0.6, 1.0]))
    return np.where(foreground, 1 + (which < np.quantile(which, tumours)), 0).astype(np.uint8)


@settings(max_examples=300, deadline=None)
@given(label=label_maps(), literal=st.booleans(), percent=st.sampled_from([0, 10, 50, 100]))
def test_equals_the_slow_reference_on_random_maps(label, literal, percent):
    before = label.copy()
    kept = keep_kidneys(label, second=percent / 100, literal=literal)
    np.testing.assert_array_equal(kept, kidneys_slowly(label, second_percent=percent, literal=literal))
    np.testing.assert_array_equal(label, before)
    assert ((kept == label) | (kept == 0)).all()  # never adds, never changes a voxel
    np.testing.assert_array_equal(keep_kidneys(kept, second=percent / 100, literal=literal), kept)
    assert len(parts_of(kept == 1 if literal else kept != 0)) <= 2


@pytest.mark.parametrize("space", [(1, 1, 20), (1, 20, 1), (20, 1, 1), (1, 2, 20), (1, 20), (20, 1)])
@pytest.mark.parametrize("literal", [False, True])
def test_what_is_left_may_be_a_line(space, literal):
    rng = np.random.default_rng(0)
    for _ in range(40):
        label = (rng.random(space) < rng.random()) * rng.integers(1, 3, space).astype(np.uint8)
        np.testing.assert_array_equal(keep_kidneys(label, literal=literal), kidneys_slowly(label, literal=literal))
        np.testing.assert_array_equal(remove_small(label, voxels=3, opening=0), small_slowly(label, 3, 0))


@settings(max_examples=150, deadline=None)
@given(label=label_maps(), voxels=st.integers(0, 12), radius=st.integers(0, 2))
def test_remove_small_equals_the_slow_reference_on_random_maps(label, voxels, radius):
    before = label.copy()
    kept = remove_small(label, voxels=voxels, opening=radius)
    np.testing.assert_array_equal(kept, small_slowly(label, voxels, radius))
    np.testing.assert_array_equal(label, before)
    np.testing.assert_array_equal(remove_small(kept, voxels=voxels, opening=radius), kept)


def patient():
    """Two kidneys, one with a tumour; an isolated tumour; a speck of kidney."""
    label = np.zeros((12, 40, 40), np.uint8)
    label[2:10, 5:15, 4:12] = 1
    label[2:10, 5:15, 28:36] = 1
    label[4:8, 15:19, 5:10] = 2  # attached to the first kidney
    label[5:8, 30:36, 18:24] = 2  # isolated
    label[1:3, 36:38, 36:38] = 1  # specks
    return label


@pytest.mark.parametrize("literal", [False, True])
def test_a_patient(literal):
    label = patient()
    kept = keep_kidneys(label, literal=literal)
    expected = label.copy()
    expected[5:8, 30:36, 18:24] = 0
    expected[1:3, 36:38, 36:38] = 0
    np.testing.assert_array_equal(kept, expected)
    assert kept.dtype == label.dtype


@pytest.mark.parametrize("literal", [False, True])
def test_a_patient_with_one_kidney_keeps_it_and_gains_no_second(literal):
    label = patient()
    label[:, :, 26:] = 0
    label[0, 39, 39] = 1  # far below 10 % of the kidney
    kept = keep_kidneys(label, literal=literal, second=0.1)
    assert kept[2:10, 5:15, 4:12].all()
    assert kept[4:8, 15:19, 5:10].all()
    assert kept[0, 39, 39] == 0


def test_where_the_two_forms_differ():
    """A tumour cuts a kidney in two, and the other kidney is smaller than both halves: the union counts it as one."""
    label = np.zeros((1, 20, 20), np.uint8)
    label[0, 2:8, 2:8] = label[0, 10:16, 2:8] = 1
    label[0, 8:10, 2:8] = 2
    label[0, 5:9, 15:19] = 1
    assert keep_kidneys(label)[0, 5, 15] == 1
    assert keep_kidneys(label, literal=True)[0, 5, 15] == 0


def test_ten_per_cent_is_enough_and_less_is_not():
    label = np.zeros((2, 40), np.uint8)
    label[0, :30] = 1
    label[0, 35:38] = 1
    assert keep_kidneys(label)[0, 35] == 1  # 3 of 30
    label[0, 37] = 0
    assert keep_kidneys(label)[0, 35] == 0  # 2 of 30
    assert keep_kidneys(label, second=0.05)[0, 35] == 1


def test_seven_of_a_hundred_are_seven_per_cent():
    label = np.zeros((3, 120), np.uint8)
    label[0, :100] = 1
    label[2, :7] = 1
    assert keep_kidneys(label, second=0.07)[2, 0] == 1  # although 0.07 * 100 > 7 in floating point


def test_a_corner_connects():
    label = np.zeros((2, 3, 3), np.uint8)
    label[0, 0, 0], label[1, 1, 1] = 1, 2
    np.testing.assert_array_equal(keep_kidneys(label), label)
    np.testing.assert_array_equal(keep_kidneys(label, literal=True), label)


@pytest.mark.parametrize("literal", [False, True])
def test_other_values_and_integer_types(literal):
    label = patient().astype(np.int64)
    relabelled = np.array([0, 7, 300])[label]
    kept = keep_kidneys(relabelled, kidney=7, tumour=300, literal=literal)
    np.testing.assert_array_equal(kept, np.array([0, 7, 300])[keep_kidneys(label, literal=literal)])
    assert kept.dtype == np.int64


@pytest.mark.parametrize("order", ["F", "reversed", "part of a larger array"])
def test_the_layout_in_memory_does_not_matter(order):
    label = patient()
    given_as = {"F": np.asfortranarray(label), "reversed": label[::-1][::-1], "part of a larger array": None}[order]
    if given_as is None:
        given_as = np.pad(label, 3)[3:-3, 3:-3, 3:-3]
    np.testing.assert_array_equal(keep_kidneys(given_as), keep_kidneys(label))
    np.testing.assert_array_equal(remove_small(given_as), remove_small(label))


def test_an_empty_map_stays_empty():
    empty = np.zeros((3, 4, 5), np.uint8)
    assert not keep_kidneys(empty).any()
    assert not remove_small(empty).any()


def test_without_a_kidney_nothing_stays():
    label = np.where(patient() == 2, 2, 0).astype(np.uint8)
    assert not keep_kidneys(label).any()
    assert not keep_kidneys(label, literal=True).any()


def test_opening_cuts_a_bridge_and_the_smaller_side_goes():
    label = np.zeros((30, 30), np.uint8)
    label[3:15, 3:15] = 1  # 144 voxels
    label[9, 15:20] = 1  # a bridge of one voxel
    label[6:12, 20:26] = 1  # 36
    kept = remove_small(label)
    assert kept[4:14, 4:14].all()
    assert not kept[:, 16:].any()
    assert remove_small(label, opening=0)[6:12, 20:26].all()  # 185 hang together by the bridge
    assert remove_small(label, voxels=30)[8, 22] == 1


def test_a_volume_of_one_slice_is_opened_as_the_slice_is():
    disc = (np.hypot(*(np.indices((21, 21)) - 10)) < 8).astype(np.uint8)
    np.testing.assert_array_equal(remove_small(disc[None])[0], remove_small(disc))
    assert remove_small(disc).any()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"label": np.full((4, 4), 3, np.uint8)},
            r"holds \[3\] besides kidney=1 and tumour=2.*isin\(label, \[3\]\)",
        ),
        ({"label": np.full((4, 4), -1, np.int16)}, r"holds \[-1\] besides kidney=1"),
        ({"label": np.ones((1, 4, 4, 4), np.uint8)}, r"shape \(1, 4, 4, 4\) came, but .* Pass one case at a time"),
        ({"kidney": 2}, "kidney=2 and tumour=2 .*kidney=1, tumour=2"),
        ({"tumour": 0}, "kidney=1 and tumour=0 .*kidney=1, tumour=2"),
        ({"second": 10.0}, "second .*got 10.0.* such as 0.1"),
    ],
)
def test_keep_kidneys_says_what_to_pass(arguments, text):
    with pytest.raises(ValueError, match=text):
        keep_kidneys(**{"label": patient(), **arguments})


def test_remove_small_says_what_to_pass():
    with pytest.raises(ValueError, match=r"voxels=-1, opening=1 came.* Pass voxels=0"):
        remove_small(patient(), voxels=-1)


def test_as_published_the_second_kidney_may_be_of_any_size():
    label = np.zeros((3, 20, 20), np.uint8)
    label[:, 2:12, 2:12] = 1
    label[1, 16, 16] = 1  # 1 voxel beside 300
    assert keep_kidneys(label, literal=True)[1, 16, 16] == 1
    assert keep_kidneys(label)[1, 16, 16] == 0
    assert keep_kidneys(label, literal=True, second=0.1)[1, 16, 16] == 0
