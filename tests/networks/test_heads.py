"""Heads: shapes, the linear start of a raised side, and that training-only parts leave no trace."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.networks.blocks import linear_up_sampling
from dsnotes.networks.heads import LocalHeads, RestorationDecoder, SideHeads, UpsampledHeads
from dsnotes.networks.unet import UNet


@pytest.mark.parametrize("stride", [(2, 2), (4, 4), (8, 8), (1, 2), (3, 3), (1, 2, 2), (4, 4, 4)])
def test_a_raised_side_starts_as_pytorchs_linear_interpolation(stride):
    x = torch.rand(2, 3, *(7, 8, 9)[: len(stride)])
    size = [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
    mode = ("bilinear", "trilinear")[len(stride) - 2]
    expected = functional.interpolate(x, size, mode=mode, align_corners=False)
    inside = (..., *(slice(s, -s) for s in stride))  # at the border the convolution sees zeros, PyTorch repeats
    torch.testing.assert_close(linear_up_sampling(3, stride)(x)[inside], expected[inside])


@pytest.mark.parametrize("stride", [(2, 2), (8, 8), (1, 2), (3, 3), (1, 2, 2), (2, 3, 1), (4, 4, 4)])
def test_upsampling_in_bfloat16_is_pytorchs_transposed_convolution(stride, monkeypatch):
    """The formula in float64, where both agree to the last digits: output and every gradient."""
    up = linear_up_sampling(3, stride).double()
    x = torch.randn(2, 3, *(5, 4, 3)[: len(stride)], dtype=torch.float64, requires_grad=True)
    for parameter in up.parameters():
        nn.init.normal_(parameter)
    found = []
    for autocast in (False, True):
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda device, on=autocast: on)
        y = up(x)
        found.append([y, *torch.autograd.grad(y.cos().sum(), [x, *up.parameters()])])
    torch.testing.assert_close(*found)
    monkeypatch.undo()
    with torch.autocast("cpu", torch.bfloat16):
        lowered = up.float()(x.float())
    assert lowered.dtype == torch.bfloat16
    exact = found[0][0].detach()
    torch.testing.assert_close(lowered.detach().double(), exact, rtol=0.03, atol=0.03 * float(exact.abs().max()))


@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 16, 32))])
def test_sides_at_their_own_size_and_raised_to_full_size(dims, size):
    backbone = UNet(dims=dims, classes=3, width=2)
    outputs = Network(backbone, {"sides": LocalHeads(backbone), "upsampled": UpsampledHeads(backbone)})(
        torch.randn(2, 1, *size)
    )
    assert list(outputs.side_outputs) == list(outputs.upsampled) == ["stride1", "stride2", "stride4", "stride8"]
    for level, (side, raised) in enumerate(zip(outputs.side_outputs.values(), outputs.upsampled.values(), strict=True)):
        assert side.shape == (2, 3, *(n // 2**level for n in size))
        assert raised.shape == (2, 3, *size)
    assert outputs.side_outputs["stride1"] is outputs.upsampled["stride1"] is outputs.logits


def test_every_head_gets_a_gradient_and_a_subset_of_levels_may_be_asked_for():
    backbone = UNet(width=2)
    net = Network(backbone, {"sides": SideHeads(backbone, levels=("stride4", "stride8"))})
    outputs = net(torch.randn(1, 1, 32, 32))
    assert list(outputs.side_outputs) == ["stride4", "stride8"]
    sum(side.sum() for side in outputs.side_outputs.values()).backward()
    assert all(p.grad is not None for p in net.heads.parameters())


def test_the_restoration_decoder_has_no_skips():
    backbone = UNet(width=8, in_channels=3)
    head = RestorationDecoder(backbone).eval()
    features = backbone.eval()(torch.randn(1, 3, 32, 32))
    for skip in features.encoder.values():
        skip.zero_()
    before = head(features, torch.zeros(1, 3, 32, 32))["restored"]
    assert before.shape == (1, 3, 32, 32)
    features.bottleneck.add_(1)
    assert not torch.equal(before, head(features, torch.zeros(1, 3, 32, 32))["restored"])


def test_deployment_drops_what_only_training_needs_and_predicts_the_same():
    backbone = UNet(width=2)
    heads = {"sides": SideHeads(backbone), "upsampled": UpsampledHeads(backbone), "image": RestorationDecoder(backbone)}
    net, image = Network(backbone, heads).eval(), torch.randn(1, 1, 32, 32)
    deployed = net.deployed()
    assert list(deployed.heads) == ["upsampled"]
    assert torch.equal(net(image).logits, deployed(image).logits)
    assert torch.equal(net(image).upsampled["stride8"], deployed(image).upsampled["stride8"])


def test_a_level_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"levels \['stride32'\] .*'stride8'"):
        SideHeads(UNet(width=2), levels=("stride1", "stride32"))


def test_two_heads_may_not_fill_one_field():
    backbone = UNet(width=2)
    with pytest.raises(ValueError, match=r"head 'local' returns \['side_outputs'\]"):
        Network(backbone, {"sides": SideHeads(backbone), "local": LocalHeads(backbone)})(torch.zeros(2, 1, 32, 32))
