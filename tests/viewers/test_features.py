"""Feature maps of several passes, level by level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsnotes.viewers import features
from dsnotes.viewers.features import most_to_see


def test_one_channel_in_all_rows_and_each_level_by_its_largest_value():
    ours = torch.zeros(2, 3, 2, 2)
    ours[1, 2] = torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    labels = torch.zeros(2, 3, 2, 2)
    labels[1, 2, 0, 0] = 4.0
    shown = features({"image": {"stride8": ours}, "mask": {"stride8": labels}}, image=1)
    image, mask = shown.figure.axes
    np.testing.assert_allclose(image.images[0].get_array(), [[0.125, 0.25], [0.375, 1.0]])
    np.testing.assert_allclose(mask.images[0].get_array(), [[0.5, 0.0], [0.0, 0.0]])
    assert image.images[0].get_clim() == mask.images[0].get_clim()
    assert image.get_title() == "stride8, channel 2"
    assert [axes.get_ylabel() for axes in shown.figure.axes] == ["image", "mask"]


def test_the_channel_is_one_in_which_every_row_has_something_to_see():
    loud_but_alone = np.zeros((2, 2, 2))
    loud_but_alone[0, 0, 0], loud_but_alone[1, 0, 0] = 100, 1
    both = np.zeros((2, 2, 2))
    both[1, 1, 1] = 1
    assert most_to_see([loud_but_alone, both]) == 1


def test_of_volumes_the_same_slice_at_every_depth():
    fine, coarse = torch.zeros(1, 1, 4, 2, 2), torch.zeros(1, 1, 2, 1, 1)
    fine[0, 0, 3], coarse[0, 0, 1] = 5.0, 7.0
    shown = features({"image": {"stride1": fine, "stride2": coarse}}, at=3)
    assert [float(axes.images[0].get_array().max()) for axes in shown.figure.axes] == [1.0, 1.0]


def test_a_chosen_channel_is_shown():
    x = torch.stack([torch.zeros(2, 2), torch.eye(2)])[None]
    shown = features({"image": {"stride1": x}}, channels={"stride1": 0})
    assert shown.figure.axes[0].images[0].get_array().max() == 0


@pytest.mark.parametrize(
    ("passes", "text"),
    [
        ({}, r"no feature map came. Pass \{name of a pass"),
        (
            {"image": {"stride1": torch.zeros(1, 2, 2, 2)}, "mask": {"stride1": torch.zeros(1, 3, 2, 2)}},
            r"\{'image': 2, 'mask': 3\} channels at 'stride1'.*x\[:, :n\]",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(passes, text):
    with pytest.raises(ValueError, match=text):
        features(passes)
