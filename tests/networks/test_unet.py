"""The U-Net against published counts, PyTorch's own rules and the contract of every backbone."""

import pytest
import torch

from dsnotes.networks.outputs import Network
from dsnotes.networks.unet import UNet


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "published"),
    [
        ({"width": 64}, 31_042_369),
        ({"width": 32, "dims": 3}, 22_581_217),
        ({"width": 30, "dims": 3, "residual": True, "bottleneck_convs": 3}, 26_379_781),
    ],
)
def test_parameter_counts_at_the_papers_settings(settings, published):
    with torch.device("meta"):
        assert parameters(UNet(**settings)) == published


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_levels_say_what_forward_gives(dims, residual, norm):
    backbone = UNet(in_channels=2, classes=3, dims=dims, width=2, depth=4, residual=residual, norm=norm)
    size = (16, 24, 32)[:dims]
    features = backbone(torch.randn(2, 2, *size))
    assert features.logits.shape == (2, 3, *size)
    for name, level in backbone.levels.items():
        assert features[name].shape == (2, level.channels, *(n // s for n, s in zip(size, level.stride, strict=True)))
    for part in (features.encoder, features.decoder):
        assert list(part) == ["stride1", "stride2", "stride4"]  # finest first


@pytest.mark.parametrize("training", [True, False])
def test_the_same_outputs_in_training_and_evaluation(training):
    outputs = Network(UNet(width=2)).train(training)(torch.randn(2, 1, 32, 32))
    assert outputs.logits.shape == (2, 1, 32, 32)
    assert list(outputs.features) == ["stride1", "stride2", "stride4", "stride8", "stride16"]
    assert (outputs.sides, outputs.raised, outputs.restored) == ({}, {}, None)


def test_every_parameter_gets_a_gradient():
    net = Network(UNet(width=4, residual=True))
    net(torch.randn(2, 1, 32, 32)).logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_an_image_is_overfitted_in_seconds():
    torch.manual_seed(0)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 10:24] = 1
    image, net = mask + 0.5 * torch.randn(1, 1, 32, 32), Network(UNet(width=4, depth=3))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(image).logits, mask).backward()
        optimiser.step()
    assert ((net(image).logits > 0) == (mask > 0.5)).float().mean() > 0.99


def test_a_size_that_cannot_be_halved_is_answered_with_the_next_that_can():
    with pytest.raises(ValueError, match=r"\(18, 32\) is not divisible by \(16, 16\).*Pad it to \(32, 32\)"):
        Network(UNet(width=2))(torch.zeros(1, 1, 18, 32))


def test_an_image_of_other_dimensions_is_answered_with_dims():
    with pytest.raises(ValueError, match=r"3 spatial axes .* this network is 2-D. Build it with dims=3"):
        Network(UNet(width=2))(torch.zeros(1, 1, 16, 16, 16))


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="norm='layer' in 2-D is unknown. Choose 'batch' or 'instance'"):
        UNet(norm="layer")
