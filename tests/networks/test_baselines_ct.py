"""FRRN, In-MRRN, Anam-Net, PSPNet and the kidney networks: public counts, the contract, each one's peculiarity."""

import pytest
import torch
from torch import nn

from dsnotes.networks.base import Network
from dsnotes.networks.baselines.anam_net import AnamNet
from dsnotes.networks.baselines.boundary_aware import BoundaryAware
from dsnotes.networks.baselines.fcn_ppm_3d import FCNPPM, PyramidPooling
from dsnotes.networks.baselines.frrn import FRRN
from dsnotes.networks.baselines.in_mrrn import InMRRN
from dsnotes.networks.baselines.pspnet_2d import AuxiliaryScore, PSPNet
from dsnotes.networks.baselines.res_unet_kits import ResUNetKiTS
from dsnotes.networks.baselines.vb_net import VBNet
from dsnotes.networks.two_stage import NOTHING, TwoStage, pasted


def two_stage(*, classes, width):
    return TwoStage(VBNet(classes=2, width=width), VBNet(classes=classes, width=width), shrink=2)


BACKBONES = [
    (FRRN, {"width": 6}, (16, 32)),
    (FRRN, {"width": 6, "variant": "B"}, (32, 32)),
    (InMRRN, {"width": 4}, (32, 16)),
    (AnamNet, {"width": 4}, (16, 32)),
    (PSPNet, {"width": 4}, (32, 24)),
    (FCNPPM, {"width": 4}, (16, 24, 16)),
    (ResUNetKiTS, {"width": 3}, (32, 64, 32)),
    (VBNet, {"width": 4}, (16, 32, 16)),
    (two_stage, {"width": 4}, (32, 32, 32)),
    (BoundaryAware, {"width": 4}, (8, 16, 16)),
]


@pytest.mark.parametrize(("network", "settings", "size"), BACKBONES)
@pytest.mark.parametrize("classes", [2, 3])
def test_levels_say_what_forward_gives(network, settings, size, classes):
    backbone = network(classes=classes, **settings).eval()
    features = backbone(torch.randn(2, 1, *size))
    assert features.logits.shape == (2, 1 if classes == 2 else 3, *size)
    for name, level in backbone.levels.items():
        expected = (2, level.channels, *(n // s for n, s in zip(size, level.stride, strict=True)))
        assert features[name].shape == expected, name


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("network", "settings", "published"),
    [
        (FRRN, {"in_channels": 3, "classes": 19}, 17_746_803),
        (FRRN, {"in_channels": 3, "classes": 19, "variant": "B"}, 24_755_699),
        (FRRN, {}, 17_743_521),
        (FRRN, {"variant": "B"}, 24_752_417),
        (FRRN, {"width": 12}, 1_112_217),
        (FRRN, {"width": 12, "variant": "B"}, 1_551_161),
        (InMRRN, {}, 38_151_361),
        (InMRRN, {"in_channels": 3}, 38_151_970 - 33),  # the release's two outputs less one
        (InMRRN, {"width": 8}, 2_391_409),
        (AnamNet, {"classes": 3}, 4_631_555),
        (AnamNet, {}, 4_631_425),
        (AnamNet, {"width": 16}, 291_121),
        (PSPNet, {"in_channels": 3}, 46_706_113),
        (PSPNet, {"width": 16}, 2_930_257),
        (FCNPPM, {"classes": 3}, 11_416_067),
        (FCNPPM, {"classes": 3, "width": 8}, 714_947),
        (PSPNet, {}, 46_704_961),
        (ResUNetKiTS, {}, 68_970_400),
        (ResUNetKiTS, {"blocks": (2,) * 6}, 39_891_100),
        (ResUNetKiTS, {"width": 24, "widest": 320}, 61_696_576),
        (ResUNetKiTS, {"width": 32, "widest": 320}, 71_726_784),
        (VBNet, {}, 2_168_709),
        (VBNet, {"out_channels": 2}, 2_167_836),
        (VBNet, {"width": 8}, 546_381),
        (BoundaryAware, {}, 20_057_032),
        (BoundaryAware, {"width": 16}, 5_016_552),
        (BoundaryAware, {"width": 8}, 1_255_288),
    ],
)
def test_counts_are_those_of_public_code_or_of_the_stated_reconstruction(network, settings, published):
    with torch.device("meta"):
        assert parameters(network(**settings)) == published


def test_two_vb_nets_count_as_a_coarse_one_for_kidneys_and_a_fine_one():
    with torch.device("meta"):
        two = TwoStage(VBNet(classes=2, out_channels=2), VBNet(classes=3))
    assert parameters(two) == 4_336_545


def test_pspnets_second_opinion_is_counted_and_given():
    with torch.device("meta"):
        backbone = PSPNet(in_channels=3)
        assert parameters(Network(backbone, {"aux": AuxiliaryScore(backbone)})) == 49_066_178
    backbone = PSPNet(width=4)
    raised = Network(backbone, {"aux": AuxiliaryScore(backbone)})(torch.randn(2, 1, 32, 24)).upsampled
    assert {name: tuple(z.shape) for name, z in raised.items()} == dict.fromkeys(["stride1", "stride8"], (2, 1, 32, 24))


@pytest.mark.parametrize(("variant", "layers"), [("A", 49), ("B", 57)])
def test_frrns_layers_are_counted_as_its_paper_counts_them(variant, layers):
    """Two convolutions a unit, and one each for the stem, the beginning of the full-size stream and the output."""
    net = FRRN(width=6, variant=variant)
    units = sum(len(stage) for stage in (*net.down, *net.up)) + 3 + 3
    assert 2 * units + 3 == layers


@pytest.mark.parametrize("network", [FRRN, InMRRN])
def test_a_full_size_stream_is_changed_by_what_is_written_to_it_alone(network):
    net = network(width=6).eval()
    for name, module in net.named_modules():
        if name.endswith(".write"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    image = torch.randn(1, 1, 32, 32)
    stem = net.stem(image) if network is FRRN else net.head(image)
    if network is InMRRN:
        expected = net.output(net.end(net.first(stem)))
        torch.testing.assert_close(net(image).logits, expected)
    else:
        seen = []
        net.end.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        net(image)
        torch.testing.assert_close(seen[0][:, -net.split[0].out_channels :], net.split(stem))


def test_in_mrrns_first_unit_of_a_stage_takes_the_pooled_finer_stream():
    net = InMRRN(width=32)
    assert [u.body[0][0].in_channels for u in net.down["stage5"]] == [288, 768, 640, 576, 544]
    assert [u.body[0][0].in_channels for u in net.down["stage2"]] == [64, 96, 96]
    assert [u.body[0][0].in_channels for u in net.up["stage4"]] == [288, 384, 320, 288]


def test_anam_nets_blocks_begin_as_what_they_are_given():
    net = AnamNet(width=8).eval()
    block, x = net.down[0], torch.rand(1, 8, 6, 6)
    nn.init.zeros_(block.body[7].weight)
    torch.testing.assert_close(block(x), x)
    assert [type(m).__name__ for m in net.down] == ["AnamorphicBlock"] * 3 + ["Identity"]
    with pytest.raises(ValueError, match="width=6 .*Use width=4"):
        AnamNet(width=6)


def test_pyramid_pooling_ends_in_means():
    """With the 1x1 and its norm out of the way the coarsest branch is the mean of the whole map."""
    pooling, x = PyramidPooling(8, 3), torch.rand(1, 8, 6, 6, 6)
    pooling.branches[0][2] = nn.Identity()
    nn.init.zeros_(pooling.branches[0][1].bias)
    y = pooling(x)
    expected = (pooling.branches[0][1].weight[:, :, 0, 0, 0] @ x.mean((0, 2, 3, 4))).relu()
    torch.testing.assert_close(y[0, 8:10], expected.view(2, 1, 1, 1).expand(-1, 6, 6, 6))
    assert torch.equal(y[:, :8], x)


def test_a_single_image_cannot_be_normalised_by_pspnet_but_by_the_volumes():
    with pytest.raises(ValueError, match="PSPNet normalises .* a single image came. Train with batch=2"):
        PSPNet(width=4)(torch.zeros(1, 1, 32, 32))
    assert FCNPPM(width=4)(torch.randn(1, 1, 16, 16, 16)).logits.isfinite().all()


def test_a_region_holds_its_mask_and_is_pasted_where_it_was():
    net = two_stage(classes=3, width=2)
    net.fine.stride, net.margin = (4, 4, 4), 2
    mask = torch.zeros(16, 16, 16, dtype=torch.bool)
    mask[6:9, 0:2, 14:] = True
    box = net.box(mask)
    assert [(at.start, at.stop) for at in box] == [(9, 21), (0, 8), (24, 32)]
    assert [(at.start, at.stop) for at in net.box(torch.zeros_like(mask))] == [(0, 32)] * 3
    for channels in (1, 3):
        inside = torch.randn(1, channels, *(at.stop - at.start for at in box))
        whole = pasted(inside, box, (32, 32, 32))
        assert torch.equal(whole[(..., *box)], inside)
        outside = torch.ones(32, 32, 32, dtype=torch.bool)
        outside[box] = False
        assert whole[0, -1][outside].unique().tolist() == [NOTHING]
        assert channels == 1 or (whole[0].argmax(0)[outside] == 0).all()


def test_a_region_that_the_coarse_network_sees_is_all_the_fine_one_gets():
    net = two_stage(classes=3, width=2).eval()
    nn.init.zeros_(net.coarse.output[-1].weight)
    nn.init.constant_(net.coarse.output[-1].bias, -1.0)  # it finds nothing
    seen = []
    net.fine.register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0].shape)))
    net(torch.randn(1, 1, 64, 32, 32))
    net.coarse.forward_was = net.coarse.forward
    mask = torch.full((1, 1, 32, 16, 16), -1.0)
    mask[..., 2:4, 2:4, 2:4] = 1.0

    def finds(image):
        features = net.coarse.forward_was(image)
        return type(features)(features.encoder, features.bottleneck, features.decoder, mask)

    net.coarse.forward = finds
    net(torch.randn(1, 1, 64, 32, 32))
    assert seen == [(1, 1, 64, 32, 32), (1, 1, 32, 32, 32)]
    with pytest.raises(ValueError, match="shrink=1 .*Pass shrink=2"):
        TwoStage(VBNet(width=2), VBNet(width=2), shrink=1)


def test_a_coarse_grid_that_the_coarse_network_cannot_halve_is_padded():
    """The papers' patch is 48 deep: a quarter of it is 12, which stride 16 does not divide."""
    net = TwoStage(VBNet(classes=2, width=2), VBNet(classes=3, width=2), shrink=4).eval()
    assert net.stride == (16, 16, 16)
    features = net(torch.randn(2, 1, 48, 64, 16))
    assert features.logits.shape == (2, 3, 48, 64, 16)
    assert features.decoder["stride4"].shape == (2, 1, 12, 16, 4)
    whole = torch.randn(1, 1, 64, 64, 128)
    assert torch.equal(net.find(whole).logits, net.coarse(net.small(whole)).logits)
    cut, padded = torch.randn(1, 1, 48, 64, 64), torch.zeros(1, 1, 16, 16, 16)
    padded[:, :, :12] = net.small(cut)
    padded[:, :, 12:] = padded[:, :, 11:12]
    assert torch.allclose(net.find(cut).logits, net.coarse(padded).logits[:, :, :12], atol=1e-6)


def test_borders_are_drawn_for_every_class_and_told_to_the_masks():
    net = BoundaryAware(width=4, classes=3)
    features = net(torch.randn(1, 1, 16, 16, 16))
    assert features.decoder["edge"].shape == (1, 2, 16, 16, 16)
    features.logits.sum().backward()
    assert all(p.grad is None for p in net.edge.parameters()), "the masks do not read the border's own 1x1"
    assert all(p.grad is not None and p.grad.any() for p in net.gates.parameters())
