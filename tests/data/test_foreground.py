"""Counts of classes a slice, taken once, and voxels drawn from them."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsnotes.data.case import Case
from dsnotes.data.foreground import class_counts, draw_voxel, foreground_classes, lowest


def case_of(label: np.ndarray) -> Case:
    return Case("a", -label.astype("f4"), label, (1.0,) * label.ndim)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 3)))
def test_counts_are_those_of_numpy(label):
    counts = class_counts(case_of(label))
    assert counts.shape == (label.shape[0], label.max() + 1)
    for value in range(counts.shape[1]):
        np.testing.assert_array_equal(counts[:, value], (label == value).sum((1, 2)))
    assert foreground_classes(case_of(label)) == [value for value in np.unique(label).tolist() if value]


def test_labels_are_counted_once(monkeypatch):
    case = case_of(np.eye(8, dtype="u1"))
    assert class_counts(case).sum() == 64
    monkeypatch.setattr(np, "bincount", lambda *_args, **_named: pytest.fail("counted again"))
    assert foreground_classes(case) == [1]


def test_every_voxel_of_a_class_can_be_drawn():
    label = (np.indices((3, 4, 5)).sum(0) % 3 == 1).astype("u1")
    generator, case = torch.Generator().manual_seed(0), case_of(label)
    drawn = {draw_voxel(case, 1, generator) for _ in range(600)}
    assert drawn == set(map(tuple, np.argwhere(label == 1).tolist()))


def test_the_lowest_value_of_each_channel():
    image = np.stack([np.full((2, 2), 3.0), np.array([[1.0, -2.0], [0.0, 5.0]])]).astype("f4")
    assert lowest(Case("a", image, None, (1.0, 1.0))).tolist() == [3.0, -2.0]
