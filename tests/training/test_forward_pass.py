"""Statistics of batch norm counted anew: torch's own count is the oracle where nothing is frozen."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from dsnotes.networks.unet import UNet
from dsnotes.training.fit import fit
from dsnotes.training.forward_pass import reestimate_statistics
from dsnotes.training.settings import Settings

QUIET = {"progress": False, "device": "cpu", "amp": False}


def buffers(network: nn.Module) -> dict:
    return {name: value.clone() for name, value in network.named_buffers()}


def test_they_are_those_of_torch_and_momenta_and_mode_are_left_as_they_were():
    torch.manual_seed(0)
    ours, images = UNet(width=2, depth=2), torch.randn(3, 4, 1, 16, 16)
    theirs = copy.deepcopy(ours)
    ours.eval()
    reestimate_statistics(ours, images)
    update_bn(images, theirs)
    torch.testing.assert_close(buffers(ours), buffers(theirs), rtol=0, atol=0)
    assert not ours.training
    assert {m.momentum for m in ours.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_of_a_single_norm_they_are_the_mean_of_means_and_of_variances():
    norm, images = nn.BatchNorm2d(2, momentum=0.01), torch.randn(5, 3, 2, 4, 4, dtype=torch.double)
    reestimate_statistics(norm.double(), images)
    torch.testing.assert_close(norm.running_mean, images.mean((1, 3, 4)).mean(0))
    torch.testing.assert_close(norm.running_var, images.transpose(1, 2).flatten(2).var(2).mean(0))


class Partly(nn.Module):
    """A frozen norm in front, as in a teacher, and one that no image reaches, as in a critic."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.learning, self.apart = (nn.BatchNorm2d(1) for _ in range(3))

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.learning(self.frozen(image))


def test_norms_that_are_frozen_or_not_reached_keep_theirs():
    network = Partly()
    for norm in (network.frozen, network.apart):
        norm.running_mean.fill_(3.0)
        norm.running_var.fill_(4.0)
    reestimate_statistics(network, [torch.full((2, 1, 4, 4), 7.0)])
    assert network.frozen.running_mean == network.apart.running_mean == 3
    assert network.apart.running_var == 4
    torch.testing.assert_close(network.learning.running_mean, torch.tensor([4 / (4 + 1e-5) ** 0.5]))


def test_without_images_nothing_changes():
    network = UNet(width=2, depth=2)
    before = buffers(network)
    reestimate_statistics(network, [])
    torch.testing.assert_close(buffers(network), before, rtol=0, atol=0)


def test_fit_ends_every_epoch_with_them_and_they_change_no_weight(tiny, discs):
    counted, ran = tiny(reestimate=3, iterations=3), tiny(iterations=3)
    for system in (counted, ran):
        fit(system, discs(6), **QUIET)
    weights = [dict(system.network.named_parameters()) for system in (counted, ran)]
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    tracked = {n: int(v) for n, v in counted.network.named_buffers() if n.endswith("num_batches_tracked")}
    assert set(tracked.values()) == {3}
    assert {int(v) for n, v in ran.network.named_buffers() if n in tracked} == {9}


def test_fewer_batches_than_none_are_refused():
    with pytest.raises(ValueError, match=r"reestimate .*got -1\..*reestimate=20"):
        Settings(reestimate=-1)
