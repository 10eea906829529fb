"""Regions within regions: each is a binary task of the same supervision, with a channel of its own."""

import pytest
import torch

from dsnotes.losses import binary_cross_entropy, soft_dice
from dsnotes.networks.unet import UNet
from dsnotes.shapes import Outputs
from dsnotes.supervision import supervise
from dsnotes.supervision.base import loss_terms
from dsnotes.supervision.multi_scale import MultiScale
from dsnotes.supervision.plain import Plain
from dsnotes.supervision.regions import RegionProbabilities, Regions, label_values, members, of_region
from dsnotes.supervision.two_pathway import TwoPathway
from dsnotes.training.system import logits_to_probabilities
from dsnotes.training.validate import count

BRATS = {"whole tumour": (1, 2, 3), "tumour core": (1, 3), "enhancing tumour": (3,)}


def test_each_region_is_a_binary_task():
    logits, label = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    found = Regions(Plain(), BRATS).terms(Outputs(logits), {"label": label})
    assert len(found) == 6
    core = ((label == 1) | (label == 3)).float()[:, None]
    torch.testing.assert_close(found["tumour core: cross-entropy"], binary_cross_entropy(logits[:, 2:3], core) / 3)
    expected = soft_dice(logits[:, 2:3].sigmoid(), core, over_batch=True) / 3
    torch.testing.assert_close(found["tumour core: dice"], expected)


@pytest.mark.parametrize("binary", [Plain(), MultiScale(), TwoPathway()])
def test_any_voxelwise_supervision_and_ignored_voxels(binary):
    objective = Regions(binary, BRATS)
    network = supervise(UNet(width=4, depth=5, classes=4), objective)
    one = {"image": torch.randn(2, 1, 32, 32), "label": torch.randint(0, 4, (2, 32, 32))}
    terms = loss_terms(objective, network, one | {"valid": torch.ones(2, 32, 32, dtype=torch.bool)})
    for name, value in loss_terms(objective, network, one).items():
        torch.testing.assert_close(value, terms[name])
    sum(terms.values()).backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_deployment_is_a_sigmoid_of_each_regions_own_channel():
    logits = torch.randn(2, 4, 5, 5)
    p = RegionProbabilities(logits_to_probabilities, 3)(Outputs(logits))
    torch.testing.assert_close(p, logits[:, 1:].sigmoid())
    one = of_region(Outputs(logits[:, :1]), 0)
    torch.testing.assert_close(one.logits, logits[:, :1])  # a single region: the one channel there is


def test_scores_of_regions_by_hand():
    """Of (whole, core): voxels 1, 2, 3, 0 in truth; whole is found in two of three, core marked once rightly."""
    label = torch.tensor([[[1, 2, 3, 0]]])
    p = torch.tensor([[[[0.9, 0.9, 0.2, 0.8]], [[0.9, 0.1, 0.1, 0.1]]]])
    found = count(p, label, regions=((1, 2, 3), (1, 3)))
    assert found.tolist() == [[2, 1], [3, 1], [3, 2]]
    valid = torch.tensor([[[True, True, True, False]]])
    assert count(p, label, regions=((1, 2, 3), (1, 3)), valid=valid).tolist() == [[2, 1], [2, 1], [3, 2]]


def test_a_label_may_hold_every_value_of_a_region():
    assert label_values(Regions(Plain(), {"a": (1, 2, 5)}), 2) == 6
    assert label_values(Plain(), 3) == 3
    assert members(torch.tensor([0, 1, 2, 3]), (1, 3)).tolist() == [False, True, False, True]
