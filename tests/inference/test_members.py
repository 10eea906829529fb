"""The predictions behind a mean: their order, and that their mean is the prediction with mirroring."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes.inference import predict_members
from dsnotes.networks.unet import UNet
from dsnotes.supervision import Plain


def system(seed=0, **options):
    torch.manual_seed(seed)
    return dsnotes.system(f"seed {seed}", UNet(**{"width": 2, "depth": 2, **options}), Plain())


def case(shape=(16, 20)):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return dsnotes.Case("one", image, None, (1.0,) * len(shape))


@pytest.mark.parametrize(("dims", "views"), [(2, 4), (3, 8)])
def test_the_mean_of_the_mirrored_views_is_the_prediction_with_mirroring(dims, views):
    net, one = system(dims=dims, width=6), case((8, 16, 20)[-dims:])
    found = predict_members(net, one, mirror=True)
    assert found.shape == (views, 1, *one.space)
    np.testing.assert_allclose(found.mean(0), dsnotes.predict(net, one, mirror=True), atol=1e-6)
    assert found.std(0).max() > 1e-4


def test_a_volume_is_mirrored_within_its_slices_by_a_2d_system():
    assert predict_members(system(), case((3, 16, 16)), mirror=True).shape == (4, 1, 3, 16, 16)


def test_an_ensemble_has_one_member_per_system():
    nets, one = [system(0), system(1)], case()
    found = predict_members(nets, one)
    np.testing.assert_array_equal(found, [dsnotes.predict(net, one) for net in nets])
    assert predict_members(nets, one, mirror=True).shape[0] == 8


def test_wrong_inputs_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"predict_members\(\[first, second\], case\)"):
        predict_members([], case())
    with pytest.raises(ValueError, match="systems of one task"):
        predict_members([system(), system(classes=3)], case())
