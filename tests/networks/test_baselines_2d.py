"""DeepLabV3+, CE-Net, Inf-Net and MedT: the counts of their public code, the contract, each one's peculiarity."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dsnotes.networks.axial_attention import Axial, along
from dsnotes.networks.baselines.ce_net import CENet, DenseAtrous, PoolingPyramid
from dsnotes.networks.baselines.deeplab_v3_plus import DeepLabV3Plus
from dsnotes.networks.baselines.inf_net import InfNet, ReverseAttention
from dsnotes.networks.baselines.med_t import MedT
from dsnotes.papers import build
from dsnotes.training.step import PlainStep

BACKBONES = [
    (DeepLabV3Plus, {"width": 8}, (32, 48)),
    (DeepLabV3Plus, {"width": 8, "separable": True}, (32, 32)),
    (CENet, {"width": 8}, (64, 96)),
    (InfNet, {"width": 8}, (64, 96)),
    (MedT, {"width": 4, "size": 64}, (64, 64)),
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
        (DeepLabV3Plus, {"in_channels": 3}, 39_756_705),
        (DeepLabV3Plus, {}, 39_750_433),
        (DeepLabV3Plus, {"in_channels": 3, "separable": True}, 26_677_585),
        (DeepLabV3Plus, {"separable": True}, 26_671_313),
        (DeepLabV3Plus, {"width": 16}, 2_495_689),
        (CENet, {"in_channels": 3}, 29_003_093),
        (CENet, {}, 28_996_821),
        (CENet, {"width": 16}, 1_817_877),
        (CENet, {"width": 32}, 7_256_629),
        (InfNet, {"in_channels": 3}, 31_072_721),
        (InfNet, {}, 31_072_145),
        (InfNet, {"width": 16, "channel": 8, "attention": (64, 16)}, 1_953_749),
        (MedT, {"in_channels": 3, "reference": True}, 1_560_140),
        (MedT, {"reference": True}, 1_553_084),
        (MedT, {"width": 4, "reference": True}, 437_368),
        (MedT, {"in_channels": 3, "reference": True, "size": 64}, 1_558_092),
        (MedT, {"in_channels": 3, "reference": True, "size": 256}, 1_564_236),
        (MedT, {"in_channels": 3, "classes": 3}, 1_524_570 + 17),
    ],
)
def test_counts_are_the_public_codes(network, settings, published):
    with torch.device("meta"):
        assert parameters(network(**settings)) == published


@pytest.mark.parametrize("name", ["deeplabv3+", "ce-net", "medt"])
def test_a_few_steps_lower_the_loss(name):
    torch.manual_seed(0)
    options, size = ({"size": 32}, 32) if name == "medt" else ({}, 64)
    system = build(name, width=8, **options)
    label = torch.zeros(2, size, size, dtype=torch.long)
    label[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    b = {"image": label[:, None] + 0.3 * torch.randn(2, 1, size, size), "label": label}
    step = PlainStep(system, system.settings)
    step.set_lr(1e-2)
    losses = [step(b)["loss"].item() for _ in range(15)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("network", [DeepLabV3Plus, CENet, InfNet, MedT])
def test_they_are_for_slices(network):
    with pytest.raises(ValueError, match="dims=3, .*Build it with dims=2"):
        network(dims=3)


@pytest.mark.parametrize("network", [DeepLabV3Plus, CENet, InfNet])
def test_they_take_a_pretrained_encoder(network, tmp_path):
    one = network(in_channels=3, width=8)
    torch.save(one.trunk.state_dict(), tmp_path / "trunk.pth")
    two = network(in_channels=3, width=8, pretrained=tmp_path / "trunk.pth")
    torch.testing.assert_close(two.trunk.state_dict(), one.trunk.state_dict(), rtol=0, atol=0)
    with pytest.raises(ValueError, match="holds another encoder: 0 tensors missing"):
        network(in_channels=3, width=4, pretrained=tmp_path / "trunk.pth")


def test_deeplab_cannot_normalise_a_single_image():
    net = DeepLabV3Plus(width=8)
    with pytest.raises(ValueError, match="a single image came. Train with batch=2 or more"):
        net(torch.zeros(1, 1, 32, 32))
    assert net.eval()(torch.zeros(1, 1, 32, 32)).logits.shape == (1, 1, 32, 32)


def test_ce_nets_chains_share_their_kernels():
    block, x = DenseAtrous(4), torch.randn(1, 4, 16, 16)
    a, b, c = (
        lambda y, m=m, rate=rate: functional.conv2d(y, m.weight, m.bias, padding=rate, dilation=rate)
        for m, rate in ((block.a, 1), (block.b, 3), (block.c, 5))
    )
    p, relu = block.p, functional.relu
    expected = x + relu(a(x)) + relu(p(b(x))) + relu(p(b(a(x)))) + relu(p(c(b(a(x)))))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("side", [2, 6, 7])
def test_ce_nets_pooling_fits_maps_smaller_than_its_kernels(side):
    pyramid, x = PoolingPyramid(3), torch.randn(1, 3, side, side)
    y = pyramid(x)
    assert y.shape == (1, 7, side, side)
    assert torch.equal(y[:, 4:], x)
    whole = (
        pyramid.one(x[..., :6, :6].amax((2, 3), keepdim=True))
        if side >= 6
        else pyramid.one(x.amax((2, 3), keepdim=True))
    )
    if side <= 6:
        torch.testing.assert_close(y[:, 3:4], whole.expand(-1, -1, side, side))


def test_reverse_attention_looks_where_nothing_was_seen():
    """Where the score is sure of a lesion, what the map says there no longer counts."""
    block = ReverseAttention(6, 4, 2, 1, deepest=False).eval()
    x, guide, score = torch.randn(1, 6, 8, 8), torch.randn(1, 2, 8, 8), torch.full((1, 1, 8, 8), -50.0)
    score[..., :4] = 50
    changed = x.clone()
    changed[..., :2] += 10
    torch.testing.assert_close(block(changed, guide, score), block(x, guide, score))
    changed[..., 7] += 10
    assert not torch.allclose(block(changed, guide, score), block(x, guide, score))
    for norm in (block.output[1],):
        nn.init.zeros_(norm.weight)
    torch.testing.assert_close(block(x, guide, score), score), "what it adds is added to the score"


def test_axial_attention_without_positions_is_torchs_attention():
    """softmax(qk) v; PyTorch's divides by √d, which is undone here, and the norms are the identity."""
    attention = Axial(8, 2, None).eval()
    for norm in (attention.qkv[1], attention.norm, attention.norm_out):
        norm.eps = 0.0
    x = torch.randn(3, 8, 5)
    q, k, v = attention.qkv(x).view(3, 2, 8, 5).split([2, 2, 4], dim=2)
    q, k, v = (t.transpose(2, 3) for t in (q, k, v))
    expected = functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    torch.testing.assert_close(attention(x), expected.transpose(2, 3).reshape(3, 8, 5))


def test_gated_positions_follow_the_equation_pixel_by_pixel():
    """y_i = Σ_j softmax_j(q_i·k_j + g q_i·r^q_ij + g k_j·r^k_ji) (g v_j + g r^v_ij), r of the distance i - j."""
    attention = Axial(4, 1, 3).eval()
    for norm in (attention.qkv[1], attention.norm, attention.norm_out):
        norm.eps = 0.0
    x = torch.randn(1, 4, 3)
    q, k, v = attention.qkv(x)[0].split([2, 2, 4])
    g_q, g_k, g_r, g_v = attention.gates
    r_q, r_k, r_v = attention.distance.split([2, 2, 4])
    expected = torch.zeros(4, 3)
    for i in range(3):
        scores = torch.stack(
            [
                q[:, i] @ k[:, j] + g_q * (q[:, i] @ r_q[:, i - j + 2]) + g_k * (k[:, j] @ r_k[:, j - i + 2])
                for j in range(3)
            ]
        ).softmax(0)
        expected[:, i] = sum(scores[j] * (g_v * v[:, j] + g_r * r_v[:, i - j + 2]) for j in range(3))
    torch.testing.assert_close(attention(x)[0], expected)


def test_sequences_run_along_the_axis_that_was_asked_for():
    attention, x = Axial(4, 1, None).eval(), torch.randn(2, 4, 6, 5)
    for axis in (2, 3):
        changed = x.clone()
        where = (slice(None), slice(None), 1, slice(None)) if axis == 3 else (..., 1)
        changed[where] += 1
        moved = (along(attention, changed, axis) - along(attention, x, axis)).abs().amax((0, 1))
        untouched = moved.clone()
        untouched[(1, slice(None)) if axis == 3 else (slice(None), 1)] = 0
        assert moved.max() > 0
        assert untouched.max() == 0


def test_medts_patches_are_cut_and_put_back_in_place():
    """A change in one patch changes its own patch of the local branch alone, and the whole branch everywhere near."""
    net = MedT(width=2, size=64).eval()
    assert net.grid == 2
    nn.init.zeros_(net.up_whole[1].weight)
    nn.init.zeros_(net.up_whole[1].bias)  # the whole branch says nothing
    image = torch.randn(1, 1, 64, 64)
    changed = image.clone()
    changed[..., :32, 32:] += 1
    moved = (net(changed).logits - net(image).logits).abs()[0, 0]
    assert moved[:32, 32:].max() > 0
    moved[:33, 31:] = 0  # the last 3x3 looks one pixel further
    assert moved.max() == 0


def test_medts_unread_parameters_are_frozen_and_the_rest_learns():
    net = MedT(width=4, size=32, reference=True)
    unread = sum(p.numel() for p in net.parameters() if not p.requires_grad)
    with torch.device("meta"):
        assert sum(p.numel() for p in MedT(reference=True).parameters() if not p.requires_grad) == 35_570
    assert unread > 0
    net(torch.randn(2, 1, 32, 32)).logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"size": 100}, "size=100: MedT needs"),
        ({"size": 16}, "size=16"),
        ({"width": 10}, "width=10"),
        ({"width": 1}, "width=1"),
    ],
)
def test_medts_impossible_sizes_are_answered(settings, answer):
    with pytest.raises(ValueError, match=answer):
        MedT(**settings)


def test_medt_is_made_for_one_size():
    with pytest.raises(ValueError, match=r"an image of \(64, 64\) came, .*\(32, 32\).*size=64"):
        MedT(width=4, size=32)(torch.zeros(2, 1, 64, 64))
