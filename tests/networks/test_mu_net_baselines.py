"""The networks µ-Net is compared with: the counts of their own code, and what is peculiar to each."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.networks.baselines.attention_unet import AttentionUNet, Gate
from dsnotes.networks.baselines.m_net import MNet, MNetSides, logits_of_the_mean
from dsnotes.networks.baselines.mlds_net import MLDSNet, ProjectionHeads
from dsnotes.networks.baselines.res_unet_plus_plus import Attention, ResUNetPlusPlus, SqueezeExcite
from dsnotes.networks.baselines.unet3_plus import UNet3Plus
from dsnotes.networks.baselines.unet_plus_plus import NestedHeads, UNetPlusPlus
from dsnotes.networks.heads import InterpolatedHeads
from dsnotes.networks.unet import UNet

FAMILY = (AttentionUNet, ResUNetPlusPlus, UNetPlusPlus, UNet3Plus, MNet, MLDSNet)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def full_scale(backbone):
    return InterpolatedHeads(backbone, kernel=3, mode="linear", bottleneck=True)


COUNTS = [
    (AttentionUNet, {}, None, 34_877_421),
    (AttentionUNet, {"in_channels": 3}, None, 34_878_573),
    (AttentionUNet, {"width": 16}, None, 2_184_453),
    (ResUNetPlusPlus, {"in_channels": 3}, None, 4_062_993),
    (ResUNetPlusPlus, {}, None, 4_062_673),
    (ResUNetPlusPlus, {"width": 8}, None, 1_018_585),
    (UNetPlusPlus, {}, None, 9_162_753),
    (UNetPlusPlus, {}, NestedHeads, 9_162_852),
    (UNetPlusPlus, {"width": 64}, None, 36_628_481),
    (UNetPlusPlus, {"width": 64}, NestedHeads, 36_628_676),
    (UNetPlusPlus, {"width": 8}, NestedHeads, 574_812),
    (UNet3Plus, {}, None, 26_970_625),
    (UNet3Plus, {}, full_scale, 26_988_485),
    (UNet3Plus, {"width": 8}, full_scale, 426_173),
    (MNet, {}, MNetSides, 8_538_596),
    (MNet, {"in_channels": 3}, MNetSides, 8_547_236),
    (MNet, {"width": 8}, MNetSides, 535_292),
    (MLDSNet, {}, None, 31_046_657),
    (MLDSNet, {}, ProjectionHeads, 31_174_918),
    (MLDSNet, {"classes": 4}, ProjectionHeads, 31_176_088),
    (MLDSNet, {"width": 16}, ProjectionHeads, 1_952_326),
]


@pytest.mark.parametrize(("network", "settings", "head", "published"), COUNTS)
def test_counts_are_those_of_the_authors_code(network, settings, head, published):
    with torch.device("meta"):
        backbone = network(**settings)
        assert parameters(Network(backbone, {"nested": head(backbone)} if head else {})) == published


@pytest.mark.parametrize("network", FAMILY)
@pytest.mark.parametrize(("dims", "classes", "size"), [(2, 3, (32, 48)), (3, 2, (16, 16, 16))])
def test_levels_say_what_forward_gives(network, dims, classes, size):
    backbone = network(dims=dims, classes=classes, width=2).eval()
    features = backbone(torch.randn(2, 1, *size))
    assert features.logits.shape == (2, 1 if classes == 2 else 3, *size)
    for name, level in backbone.levels.items():
        expected = (2, level.channels, *(n // s for n, s in zip(size, level.stride, strict=True)))
        assert features[name].shape == expected, name
    down = backbone.encode(torch.randn(2, 1, *size))
    assert down.bottleneck.shape == features.bottleneck.shape
    assert (down.decoder, down.logits) == ({}, None)


@pytest.mark.parametrize("network", FAMILY)
def test_a_size_that_cannot_be_halved_is_answered(network):
    with pytest.raises(ValueError, match=r"\(40, 36\) is not divisible by"):
        Network(network(width=2))(torch.zeros(1, 1, 40, 36))


def test_an_attention_gate_is_one_factor_a_pixel_on_the_skip():
    gate = Gate(4, 2, "batch").eval()
    up, skip = torch.randn(2, 1, 4, 8, 8)  # two maps of a batch of one
    factor = gate(up, skip) / skip
    assert torch.allclose(factor, factor[:, :1].expand(1, 4, 8, 8), atol=1e-5)
    assert 0 < factor.min() < factor.max() < 1
    torch.nn.init.zeros_(gate.psi[0].weight)
    torch.nn.init.zeros_(gate.psi[0].bias)
    torch.testing.assert_close(gate(up, skip), skip / 2)  # σ(0) for every pixel


def test_res_unet_plus_plus_attends_to_the_deep_map_without_a_bound():
    attention = Attention(2, 3, 2).eval()
    torch.nn.init.zeros_(attention.together[2].weight)
    torch.nn.init.constant_(attention.together[2].bias, 5.0)
    deep = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(attention(torch.randn(1, 2, 8, 8), deep), 5 * deep)


def test_squeeze_and_excite_halves_when_it_says_nothing():
    squeeze, x = SqueezeExcite(8), torch.randn(2, 8, 4, 4)
    torch.nn.init.zeros_(squeeze.weigh[2].weight)
    torch.testing.assert_close(squeeze(x), x / 2)


def test_every_node_of_unet_plus_plus_reads_its_row_and_the_one_below():
    """X(i, j) takes j maps of its own row and one of the next: j c_i + c_(i+1) channels."""
    backbone = UNetPlusPlus(width=2)
    for name, node in backbone.nodes.items():
        i, j = map(int, name.split("_"))
        assert node[0][0].in_channels == j * 2 * 2**i + 2 * 2 ** (i + 1)
    assert len(backbone.nodes) == 10


def test_a_shallow_answer_of_unet_plus_plus_sees_no_deeper_map():
    backbone = UNetPlusPlus(width=2).eval()
    image = torch.randn(1, 1, 32, 32)
    before = backbone(image).nested
    with torch.no_grad():
        backbone.bottleneck[0][0].weight.zero_()
        backbone.encoder[3][0][0].weight.zero_()
    after = backbone(image).nested
    assert {name: torch.equal(before[name], after[name]) for name in before} == {
        "depth1": True,
        "depth2": True,
        "depth3": False,
        "depth4": False,
    }


@pytest.mark.parametrize(("depth", "published"), [(1, 102_465), (2, 518_529), (3, 2_235_585)])
def test_a_shallow_one_is_as_large_as_published(depth, published):
    with torch.device("meta"):
        assert parameters(UNetPlusPlus(depth=depth + 1)) == published


def test_nested_heads_want_nested_maps():
    with pytest.raises(ValueError, match=r"UNet has no nested maps"):
        NestedHeads(UNet(width=2))


def test_unet3_plus_hears_encoders_from_above_and_decoders_from_below():
    """hd2 (stride 2): encoder maps of strides 1 and 2, decoder maps of 4 and 8, and the bottleneck."""
    backbone = UNet3Plus(width=2)
    assert [branch[0].in_channels for branch in backbone.branches[1]] == [2, 4, 10, 10, 32]
    assert [branch[0].in_channels for branch in backbone.branches[3]] == [2, 4, 8, 16, 32]
    answers = Network(backbone, {"sides": full_scale(backbone)})(torch.randn(2, 1, 32, 32)).upsampled
    assert list(answers) == ["stride1", "stride2", "stride4", "stride8", "stride16"]
    assert {tuple(z.shape) for z in answers.values()} == {(2, 1, 32, 32)}


def test_m_net_shows_the_image_to_three_coarser_levels_but_not_to_the_deepest():
    backbone = MNet(width=2).eval()
    image = torch.rand(1, 1, 32, 32)
    shown = []
    for block in backbone.encoder[1:]:
        block.look.register_forward_hook(lambda module, args, out: shown.append(args[0]))
    backbone(image)
    assert len(shown) == 3
    for level, small in enumerate(shown, start=1):
        torch.testing.assert_close(small, functional.avg_pool2d(image, 2**level))
    assert not [m for m in backbone.modules() if "Norm" in type(m).__name__]
    assert backbone.bottleneck[0][0].in_channels == 16  # the pooled map alone


@pytest.mark.parametrize("channels", [1, 3])
def test_m_nets_fifth_answer_is_the_mean_of_probabilities(channels):
    answers = [5 * torch.randn(2, channels, 4, 4) for _ in range(4)]
    chances = [z.sigmoid() if channels == 1 else z.softmax(1) for z in answers]
    mean = logits_of_the_mean(answers)
    torch.testing.assert_close(mean.sigmoid() if channels == 1 else mean.softmax(1), sum(chances) / 4)
    sure = logits_of_the_mean([torch.full((1, 1, 2, 2), 200.0)] * 4)
    assert sure.isfinite().all()


def test_m_nets_score_and_then_raise_is_raise_and_then_score():
    backbone = MNet(width=2)
    sides = MNetSides(backbone)
    image = torch.randn(1, 1, 32, 32)
    features = backbone(image)
    branch = sides.branches["stride4"]
    theirs = branch[0](functional.interpolate(features.decoder["stride4"], scale_factor=4, mode="nearest"))
    torch.testing.assert_close(sides(features, image)["upsampled"]["stride4"], theirs)


def test_mlds_net_answers_at_five_levels_besides_its_output():
    backbone = MLDSNet(width=2, classes=3)
    outputs = Network(backbone, {"sides": ProjectionHeads(backbone)})(torch.randn(2, 1, 32, 32))
    assert {name: tuple(side.shape[1:]) for name, side in outputs.side_outputs.items()} == {
        f"stride{s}": (3, 32 // s, 32 // s) for s in (1, 2, 4, 8, 16)
    }
    assert not torch.equal(outputs.side_outputs["stride1"], outputs.logits)
