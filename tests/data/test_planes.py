"""Slices kept and resized as µ-Net prepares its sets."""

from __future__ import annotations

import numpy as np
import pytest

from dsnotes.data.case import Case
from dsnotes.data.planes import between, positive, resized
from dsnotes.data.preprocess import Preprocess


@pytest.fixture
def case() -> Case:
    """Slice z holds z everywhere; slices 2 and 5 have foreground."""
    image = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 6, 6)).copy()
    label = np.zeros((8, 6, 6), np.uint8)
    label[[2, 5], 1:3, 1:3] = 1
    soft = image / 8
    return Case("a", image, label, (3.0, 1.0, 1.0), {"soft": soft, "kind": "odd"})


def test_slices_are_kept_from_the_first_to_the_last(case):
    """µ-Net, 4.1: "only the 30th to the 125th slices are selected"."""
    kept = between(case, 2, 5)
    assert kept.image[:, 0, 0].tolist() == [2, 3, 4, 5]
    assert kept.label.any((1, 2)).tolist() == [True, False, False, True]
    assert kept.extras["soft"][:, 0, 0].tolist() == [z / 8 for z in (2, 3, 4, 5)]
    assert kept.extras["kind"] == "odd"
    with pytest.raises(ValueError, match=r"slices 2 to 8 came for case a, which has 8. Pass two from 0 to 7"):
        between(case, 2, 8)


def test_slices_without_foreground_are_dropped(case):
    kept = positive(case)
    assert kept.image[:, 0, 0].tolist() == [2, 5]
    assert kept.label.shape == (2, 6, 6)
    with pytest.raises(ValueError, match="case a has no foreground in any slice"):
        positive(Case("a", case.image, np.zeros_like(case.label), case.spacing))


def test_every_slice_is_brought_to_one_size(case):
    small = resized(case, (3, 3))
    assert small.space == (8, 3, 3)
    assert small.spacing == (3.0, 2.0, 2.0)
    np.testing.assert_allclose(small.image[:, 1, 1], np.arange(8), atol=1e-5)


def test_preprocess_does_all_three_and_names_them(case):
    settings = Preprocess(slices=(1, 6), positive_slices=True, size=(12, 12))
    done = settings(case)
    assert done.space == (2, 12, 12)
    assert settings.json() != Preprocess().json()


def test_an_image_of_two_axes_has_no_slices():
    flat = Case("b", np.zeros((6, 6), np.float32), np.ones((6, 6), np.uint8), (1.0, 1.0))
    with pytest.raises(ValueError, match=r"grid \(6, 6\); slices can be selected in volumes only"):
        positive(flat)
