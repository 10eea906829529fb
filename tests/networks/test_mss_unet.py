"""MSS U-Net's backbone: published counts, the paper's side shapes, and strides derived from patch and spacing."""

import pytest
import torch

from dsnotes.networks.base import Network
from dsnotes.networks.heads import SideHeads
from dsnotes.networks.mss_unet import PAPER, MSSUNet, Plan, plan


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "heads", "published"),
    [
        ({}, True, 29_642_540),
        ({}, False, 29_640_320),
        ({"plan": Plan(PAPER.strides, ((3, 3, 3),) * 6)}, True, 29_659_280),
        ({"widest": 960}, True, 79_479_180),
    ],
)
def test_parameter_counts(settings, heads, published):
    with torch.device("meta"):
        backbone = MSSUNet(**settings)
        net = Network(backbone, {"sides": SideHeads(backbone, bias=False)} if heads else {})
    assert parameters(net) == published


def test_side_shapes_of_the_paper():
    """192,192,48 halves to 12,12,12 at the coarsest side; here depth comes first."""
    with torch.device("meta"):
        backbone = MSSUNet(width=2)
        sides = Network(backbone, {"sides": SideHeads(backbone)})(torch.zeros(1, 1, 48, 192, 192)).side_outputs
    assert {name: tuple(side.shape) for name, side in sides.items()} == {
        "stride1": (1, 3, 48, 192, 192),
        "stride2": (1, 3, 48, 96, 96),
        "stride4": (1, 3, 48, 48, 48),
        "stride8": (1, 3, 24, 24, 24),
        "stride16": (1, 3, 12, 12, 12),
    }


def test_the_papers_patch_and_spacing_give_the_papers_plan():
    assert PAPER.strides == ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert PAPER.kernels == ((1, 3, 3), *((3, 3, 3),) * 5)  # 3x3x1 in the paper's axis order, in the encoder only
    first = MSSUNet(width=2).encoder[0][0].weight.shape
    last = MSSUNet(width=2).decoder[0][0].weight.shape
    assert (tuple(first[2:]), tuple(last[2:])) == ((1, 3, 3), (3, 3, 3))


@pytest.mark.parametrize(
    ("patch", "spacing", "strides"),
    [
        ((64, 64), (1.0, 1.0), ((2, 2),) * 4),
        ((24, 64, 64), (3.0, 0.8, 0.8), ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))),
        ((40, 56, 40), (1.0, 1.0, 1.0), ((2, 2, 2),) * 3),
    ],
)
def test_axes_with_fewer_halvings_are_halved_late(patch, spacing, strides):
    shape = plan(patch, spacing)
    assert shape.strides == strides
    backbone = MSSUNet(width=2, classes=2, plan=shape).eval()
    assert all(n % s == 0 for n, s in zip(patch, backbone.stride, strict=True))
    for name, level in backbone.levels.items():
        got = backbone(torch.zeros(1, 1, *patch))[name]
        assert got.shape == (1, level.channels, *(n // s for n, s in zip(patch, level.stride, strict=True)))


def test_he_initialisation_with_the_leak():
    torch.manual_seed(0)
    weight = MSSUNet(width=32).encoder[2][3].weight
    fan_in = weight[0].numel()
    assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / fan_in) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("patch", "spacing", "answer"),
    [
        ((4, 4), (1.0, 1.0), r"patch \(4, 4\) cannot be halved once .* Use 8 or more"),
        (
            (50, 190, 200),
            (3.0, 0.8, 0.8),
            r"cannot be halved \(3, 5, 5\) times.* is \(48, 192, 192\)",
        ),
        ((64, 64), (1.0,), r"patch \(64, 64\) and spacing \(1.0,\) .*one spacing in mm"),
    ],
)
def test_impossible_plans_are_answered(patch, spacing, answer):
    with pytest.raises(ValueError, match=answer):
        plan(patch, spacing)
