"""What the selective fusion of DSNet chose, and what its attention does with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dsnotes.networks.dsnet import DSNet
from dsnotes.networks.srgan import Generator, enlarged
from dsnotes.viewers.fusion import detail_shares, fusion, spatial_gate


def small(how: str = "sdrfm") -> DSNet:
    torch.manual_seed(0)
    return DSNet(width=4, fusion=how, generator=Generator(width=4, blocks=1, scale=2))


def test_the_shares_are_those_that_the_network_fuses_with():
    backbone, images = small().eval(), torch.rand(2, 1, 16, 16)
    b = detail_shares(backbone, images)
    assert b.shape == (2, 4)
    with torch.no_grad():
        context, detail = backbone.fuse.branches(enlarged(images, 2), backbone.teacher(images))
        fused = backbone.see(images)
    torch.testing.assert_close((1 - b)[..., None, None] * context + b[..., None, None] * detail, fused)


def test_a_branch_that_always_wins_has_all_the_share_and_is_all_of_the_picture():
    backbone, images = small(), torch.rand(1, 1, 16, 16)
    nn.init.constant_(backbone.fuse.choose[1].bias, 100.0)
    nn.init.constant_(backbone.fuse.choose[0].bias, -100.0)
    torch.testing.assert_close(detail_shares(backbone, images), torch.ones(1, 4))
    shown = fusion(backbone, images).figure.axes
    assert [axes.get_title().split("  ")[0] for axes in shown[3:]] == ["context, a = 0.00", "detail, b = 1.00", "fused"]
    assert (shown[4].images[0].get_array() == shown[5].images[0].get_array()).all()
    assert shown[5].images[0].get_array().max() > 0


@pytest.mark.parametrize("how", ["interpolated", "super-resolved", "edrfm", "sdrfm"])
def test_the_gate_is_what_the_first_cbam_multiplies_with(how):
    backbone, images, seen = small(how), torch.rand(2, 1, 16, 16), []
    backbone.train()(images)  # batch norm with other statistics than at the start, when it changes nothing
    first = backbone.eval().encoder[0].body[-1]
    first.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    with torch.no_grad():
        backbone(images)
    gate, (x, out) = spatial_gate(backbone, images), seen[0]
    assert gate.shape == (2, 1, 16 * backbone.scale, 16 * backbone.scale)
    torch.testing.assert_close(gate * first.gates(x)[0] * x, out)


def test_looking_leaves_the_network_as_it_was():
    backbone = small().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    fusion(backbone, torch.rand(2, 1, 16, 16), image=1)
    spatial_gate(backbone, torch.rand(2, 1, 16, 16))
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_a_network_without_selective_fusion_is_refused():
    with pytest.raises(ValueError, match=r"fusion='edrfm' came, .* dsnotes.build\('dsnet-sdrfm'\)"):
        fusion(small("edrfm"), torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match="Linear came, but only selective fusion"):
        detail_shares(nn.Linear(2, 2), torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match=r"Linear came, but CBAM's attention is DSNet's. .*dsnotes.build\('dsnet'\)"):
        spatial_gate(nn.Linear(2, 2), torch.rand(1, 1, 16, 16))
