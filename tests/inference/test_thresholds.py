"""Each label is worked out again from the probabilities; the morphological step is SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dsnotes.inference import at_thresholds


def blurred():
    rng = np.random.default_rng(3)
    field = ndimage.gaussian_filter(rng.normal(size=(12, 20, 20)), 1.5)
    return (1 / (1 + np.exp(-25 * field))).astype(np.float32)[None]


def test_the_papers_five_thresholds():
    p = blurred()
    labels = at_thresholds(p)
    assert list(labels) == [0.5, 0.6, 0.7, 0.8, 0.9]
    for t, label in labels.items():
        np.testing.assert_array_equal(label, p[0] > np.float32(t))
        assert label.dtype == np.uint8
    assert (np.diff([int(label.sum()) for label in labels.values()]) < 0).all()


def test_the_morphological_step_is_an_opening_and_a_size():
    p = blurred()
    (label,) = at_thresholds(p, thresholds=[0.7], voxels=300, opening=1).values()
    cross = ndimage.generate_binary_structure(3, 1)
    room = np.pad(p[0] > 0.7, 1, mode="constant", constant_values=True)  # what lies beyond wears nothing away
    eroded = ndimage.binary_erosion(room, cross, border_value=1)[1:-1, 1:-1, 1:-1]
    parts, n = ndimage.label(ndimage.binary_dilation(eroded, cross), np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(parts > 0, parts, range(n + 1))
    np.testing.assert_array_equal(label, (sizes >= 300)[parts])
    assert 0 < label.sum() < (p > 0.7).sum()
    assert (sizes[1:] < 300).any()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: at_thresholds(np.concatenate([p, 1 - p])), r"2 channels.*p\[2:3\].*to_label"),
        (lambda p: at_thresholds(p, thresholds=[0.5, 1]), r"\(0\.5, 1\) .*below 1.*0\.9"),
        (lambda p: at_thresholds(p, thresholds=[]), r"thresholds=\(\) .*at least one"),
        (lambda p: at_thresholds(p, voxels=-1), "voxels=-1.*neither can be negative"),
    ],
)
def test_errors_say_what_to_do(call, said):
    with pytest.raises(ValueError, match=said):
        call(blurred())
