"""Losses of the worst pixels, of classes in balance, of borders, and of two networks in turn."""

import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.networks.baselines.vb_net import VBNet
from dsnotes.networks.two_stage import TwoStage
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.boundary import Boundary, balanced_entropy, border
from dsnotes.supervision.pixelwise import Pixelwise, balanced, cost, hardest
from dsnotes.supervision.targets import one_hot
from dsnotes.supervision.two_stage import TwoStageLoss


def test_the_hardest_pixels_are_each_images_own():
    logits = torch.tensor([[3.0, -1.0, 2.0, 0.0], [9.0, 8.0, 7.0, 6.0]]).view(2, 1, 2, 2)
    t = torch.zeros_like(logits)
    two = functional.softplus(torch.tensor([3.0, 2.0, 9.0, 8.0])).mean()
    torch.testing.assert_close(hardest(logits, t, pixels=2, share=1.0), two)
    torch.testing.assert_close(
        hardest(logits, t, pixels=99, share=0.25), functional.softplus(logits[:, 0, 0, 0]).mean()
    )


def test_cost_is_pytorchs():
    label, logits = torch.randint(0, 3, (2, 4, 5)), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(
        cost(logits, one_hot(label, 3)), functional.cross_entropy(logits, label, reduction="none")
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_balanced_entropy_is_pytorchs_with_the_weights_of_rarity(channels):
    label = torch.zeros(2, 6, 6, dtype=torch.long)
    label[0, :2, :2] = 1
    if channels == 3:
        label[1, 4:, 4:] = 2
    logits = torch.randn(2, channels, 6, 6)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1) if channels == 1 else logits
    weights = 1 / label.flatten().bincount().float()
    expected = functional.cross_entropy(two, label, weight=weights)
    torch.testing.assert_close(balanced(logits, one_hot(label, channels)), expected)
    assert balanced(logits, one_hot(torch.zeros_like(label), channels)).isfinite(), "a class that is not there"


@pytest.mark.parametrize("dims", [2, 3])
def test_a_border_is_what_scipys_erosion_takes_away(dims):
    mask = torch.rand(2, 1, *(9,) * dims) > 0.2
    inside = [ndimage.binary_erosion(m[0], ndimage.generate_binary_structure(dims, dims), border_value=1) for m in mask]
    expected = mask.float() - torch.stack([torch.from_numpy(i).float()[None] for i in inside])
    assert torch.equal(border(mask.float()), expected)


def test_border_and_rest_weigh_the_same_and_an_empty_border_is_no_nan():
    logits, t = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    t[..., 0, 0], logits[..., 0, 0] = 1.0, 2.0
    halves = (functional.softplus(torch.tensor(-2.0)) + functional.softplus(torch.tensor(0.0))) / 2
    torch.testing.assert_close(balanced_entropy(logits, t), halves)
    assert balanced_entropy(logits, torch.zeros_like(t)).isfinite()


def test_a_network_without_a_border_is_refused():
    network = supervise(UNet(width=2), Boundary())
    with pytest.raises(ValueError, match="no map 'edge', only .* build boundary-aware"):
        loss_terms(
            Boundary(), network, {"image": torch.zeros(2, 1, 16, 16), "label": torch.zeros(2, 16, 16, dtype=torch.long)}
        )


def test_the_output_alone_is_asked():
    network = supervise(UNet(width=2), goal := Pixelwise(balanced))
    batch = {"image": torch.randn(2, 1, 16, 16), "label": torch.randint(0, 2, (2, 16, 16))}
    assert list(loss_terms(goal, network, batch)) == ["cross-entropy"]


def test_the_fine_network_learns_in_the_labels_region_alone():
    backbone = TwoStage(VBNet(classes=2, width=2), VBNet(classes=3, width=2), shrink=2, margin=0)
    network, goal = Network(backbone), TwoStageLoss()
    label = torch.zeros(2, 64, 64, 64, dtype=torch.long)
    label[:, 4:20, 4:20, 4:20] = 2
    batch = {"image": torch.randn(2, 1, 64, 64, 64), "label": label}
    seen = []
    backbone.fine.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    terms = loss_terms(goal, network, batch)
    assert list(terms) == ["coarse", "fine"]
    assert torch.equal(torch.cat(seen), batch["image"][:, :, :32, :32, :32])
    with pytest.raises(TypeError, match="UNet came, .*TwoStage"):
        supervise(UNet(width=2), goal)
