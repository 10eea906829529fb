"""Voxels drawn by lot: how many, from where, and how far is far."""

import pytest
import torch
from scipy import ndimage

from dsnotes.networks.base import Network
from dsnotes.networks.baselines.mcroi_cnn import MCROICNN
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.voxel_sampling import REACH, Voxels, draw, steps, weights


@pytest.mark.parametrize("dims", [2, 3])
def test_steps_are_scipys_chessboard_distance(dims):
    mask = torch.rand(1, 1, *(12,) * dims) > 0.97
    mask[(0, 0, *[0] * dims)] = True
    expected = ndimage.distance_transform_cdt(~mask[0, 0].numpy(), metric="chessboard").clip(max=REACH)
    assert (steps(mask.float())[0, 0].numpy() == expected).all()


def test_as_many_of_the_lesion_as_of_the_rest_in_every_image():
    label = torch.zeros(3, 20, 20, dtype=torch.long)
    label[0, 5:8, 5:8], label[1, 2, 2] = 1, 2
    at = draw(torch.randn(3, 1, 20, 20), label, 32)
    assert at.shape == (3 * 64, 3)
    assert at[:, 0].bincount().tolist() == [64, 64, 64]
    lesion = label[tuple(at.unbind(1))] > 0
    assert [int(lesion[at[:, 0] == image].sum()) for image in range(3)] == [32, 32, 0]


def test_borders_and_what_is_near_and_bright_weigh_most():
    image, label = torch.zeros(1, 1, 30, 30), torch.zeros(1, 30, 30, dtype=torch.long)
    label[0, 10:19, 10:19], image[..., 20:] = 1, 1.0
    w = weights(image, label)[0]
    assert w[10, 14] > w[12, 14] > w[14, 14] > 0
    assert w[14, 10] == w[14, 18], "of the lesion brightness does not count"
    assert w[14, 20] > w[14, 8] > 0, "both two steps away, one dark"
    assert w[14, 20] > w[14, 23]


def test_all_answers_of_the_network_are_asked_and_others_refused():
    batch = {"image": torch.randn(2, 1, 16, 16), "label": torch.randint(0, 3, (2, 16, 16))}
    goal = Voxels(8)
    assert list(loss_terms(goal, Network(MCROICNN(width=3, classes=3)), batch)) == ["cross-entropy"]
    with pytest.raises(TypeError, match="UNet .*patch classifiers.* Supervise this network with Plain"):
        supervise(UNet(width=2), goal)
