"""The variational branch: its pinned count, its levels, and where it draws."""

import pytest
import torch

from dsnotes.networks.base import Network
from dsnotes.networks.unet import UNet
from dsnotes.networks.variational_decoder import VariationalDecoder


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("patch", "width", "published"),
    [
        ((240, 240), 64, 7_531_409),
        (None, 64, 7_531_409),
        ((320, 320), 64, 7_753_169),
        ((480, 480), 64, 8_523_169),
        ((64, 64), 64, 7_161_809),
        ((64, 64), 16, 503_537),
    ],
)
def test_the_code_grows_with_the_patch(patch, width, published):
    with torch.device("meta"):
        assert parameters(VariationalDecoder(UNet(width=width), patch=patch)) == published


@pytest.mark.parametrize(("dims", "size"), [(2, (48, 32)), (2, (80, 80)), (3, (16, 32, 16))])
def test_its_maps_are_the_decoders_at_each_level(dims, size):
    backbone = UNet(dims=dims, width=2)
    net = Network(backbone, {"variational": VariationalDecoder(backbone, patch=(32,) * dims)})
    outputs = net(torch.randn(2, 1, *size))
    assert outputs.restored.shape == (2, 1, *size)
    assert {name: x.shape for name, x in outputs.restored_features.items()} == {
        name: x.shape for name, x in outputs.features.items()
    }
    assert list(outputs.restored_features) == list(outputs.features)
    assert {name: tuple(x.shape) for name, x in outputs.latent.items()} == {
        "mean": (2, 128),
        "log_variance": (2, 128),
    }


def test_it_draws_in_training_and_takes_the_mean_afterwards():
    backbone = UNet(width=2)
    head = VariationalDecoder(backbone)
    features = backbone(torch.randn(2, 1, 32, 32))
    drawn = [head(features, None)["restored"] for _ in range(2)]
    assert not torch.equal(*drawn)
    head.eval()
    certain = [head(features, None)["restored"] for _ in range(2)]
    assert torch.equal(*certain)


def test_it_sees_the_bottleneck_through_the_code_alone():
    backbone = UNet(width=2)
    head = VariationalDecoder(backbone).eval()
    torch.nn.init.zeros_(head.to_code.weight)
    one, other = (head(backbone(torch.randn(1, 1, 32, 32)), None)["restored"] for _ in range(2))
    assert torch.equal(one, other)
