"""Regions of interest: what they hold, and that the way back ends where it began."""

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.data.region import around, cut, put_back, regions


def case(**changed) -> Case:
    label = np.zeros((12, 20, 16), np.uint8)
    label[4:8, 5:15, 8:16] = 1
    label[5, 6, 9] = 2
    rng = np.random.default_rng(0)
    given = {"image": rng.normal(size=label.shape).astype(np.float32), "label": label, "spacing": (3.0, 1.0, 1.0)}
    return Case("kidney", **(given | changed))


def test_a_region_holds_the_mask_and_its_margin():
    mask = case().label > 0
    assert around(mask, margin=0) == (slice(4, 8), slice(5, 15), slice(8, 16))
    assert around(mask, margin=0.1) == (slice(3, 9), slice(4, 16), slice(7, 16))
    assert around(np.zeros_like(mask)) == (slice(0, 12), slice(0, 20), slice(0, 16))


def test_what_is_cut_without_a_size_comes_back_as_it_was():
    whole = case()
    small = cut(whole, around(whole.label > 0))
    assert small.space == (6, 12, 9)
    assert np.array_equal(small.image, whole.image[3:9, 4:16, 7:16])
    assert np.array_equal(put_back(small.label, small), whole.label)


def test_sizes_change_the_millimetres_and_keep_the_extent():
    (small,) = regions([case()], margin=0, size=(8, 20, 8))
    assert small.space == (8, 20, 8)
    assert small.spacing == pytest.approx((1.5, 0.5, 1.0))
    back = put_back(small.label, small)
    assert (back > 0).sum() == (case().label > 0).sum()


@pytest.mark.parametrize("classes", [1, 3])
def test_beyond_the_region_everything_is_background(classes):
    small = cut(case(), around(case().label > 0))
    p = np.full((classes, *small.space), 1 / classes, np.float32)
    back = put_back(p, small)
    assert back.shape == (classes, 12, 20, 16)
    assert np.allclose(back[(slice(None), *small.extras["region"])], 1 / classes)
    assert back[:, 0, 0, 0].tolist() == ([0] if classes == 1 else [1, 0, 0])


def test_what_does_not_count_stays_with_its_voxels_and_regions_have_no_background():
    whole = case(extras={"valid": (case().label != 2).astype(np.uint8), "other": 1})
    small = cut(whole, around(whole.label > 0))
    assert (small.extras["valid"] == 0).sum() == 1
    np.testing.assert_array_equal(small.extras["valid"] == 0, small.label == 2)
    p = np.full((3, *small.space), 0.5, np.float32)
    assert put_back(p, small, background=False)[:, 0, 0, 0].tolist() == [0, 0, 0]


def test_wrong_inputs_are_answered():
    small = cut(case(), around(case().label > 0))
    with pytest.raises(ValueError, match="margin=-1 would cut off"):
        around(case().label > 0, margin=-1)
    with pytest.raises(ValueError, match="a region of 1 axes .* which has 3"):
        cut(case(), (slice(0, 3),))
    with pytest.raises(ValueError, match="has no region to put back"):
        put_back(case().label, case())
    with pytest.raises(ValueError, match="an array of shape .* came for case kidney with the grid"):
        put_back(case().label, small)
    with pytest.raises(ValueError, match="have no label to find a region from"):
        regions([case(label=None)])
