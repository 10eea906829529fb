"""The generator and critic of SRGAN: published counts, sizes, and what an untrained generator does."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.base import Network
from dsnotes.networks.critic import ImageCritic
from dsnotes.networks.srgan import SRGAN, Generator, generator_of, reduced


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("channels", "generator", "critic"), [(1, 1_528_724, 5_214_273), (3, 1_549_462, 5_215_425)])
def test_counts_are_the_published_ones(channels, generator, critic):
    with torch.device("meta"):
        assert parameters(Generator(channels=channels)) == generator
        assert parameters(ImageCritic(channels)) == critic


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_an_untrained_generator_interpolates_and_offers_its_last_maps(scale):
    net = Generator(channels=2, width=4, blocks=2, scale=scale).eval()
    image = torch.randn(2, 2, 8, 12)
    raised, features = net(image)
    torch.testing.assert_close(raised, functional.interpolate(image, scale_factor=scale, mode="bicubic"))
    assert features.shape == (2, 4, 8 * scale, 12 * scale)


def test_grey_values_may_be_in_any_units():
    """HU or a window: G(a x + b) = a G(x) + b."""
    net = Generator(width=4, blocks=2).eval()
    torch.nn.init.normal_(net.output.weight)
    image = torch.randn(2, 1, 16, 16)
    there, features = net(1000 * image - 500)
    here, same = net(image)
    torch.testing.assert_close(there, 1000 * here - 500, rtol=1e-4, atol=0.1)
    torch.testing.assert_close(features, same, rtol=1e-3, atol=1e-4)
    assert net(torch.zeros(1, 1, 8, 8))[0].isfinite().all(), "a constant image has no spread"


@pytest.mark.parametrize("scale", [1, 3, 6])
def test_a_scale_that_is_no_doubling_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale={scale}, but each stage of the generator doubles the size. Pass scal"):
        Generator(scale=scale)


def test_the_backbone_takes_an_image_down_and_brings_it_back():
    net = Network(SRGAN(width=4, blocks=1, scale=4)).eval()
    image = torch.randn(1, 1, 32, 48)
    expected = functional.interpolate(reduced(image, 4), scale_factor=4, mode="bicubic")
    torch.testing.assert_close(net(image).logits, expected)
    with pytest.raises(ValueError, match=r"image size \(30, 48\) is not divisible by \(4, 4\)"):
        net(torch.zeros(1, 1, 30, 48))


def test_reducing_leaves_no_moire():
    """Stripes of one pixel are grey at a quarter of the size; skipping pixels would show black or white."""
    stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 1, 64, 64)
    assert (reduced(stripes, 4)[..., 2:-2] - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("sizes", [{"width": 4, "blocks": 3, "scale": 2}, {"width": 6, "blocks": 1, "in_channels": 2}])
def test_a_generator_is_read_from_a_runs_weights_alone(sizes):
    backbone = SRGAN(**sizes)
    again = generator_of(Network(backbone).state_dict())
    assert (again.width, again.blocks, again.scale) == (sizes["width"], sizes["blocks"], sizes.get("scale", 4))
    for name, value in backbone.generator.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_weights_of_another_network_are_answered():
    with pytest.raises(ValueError, match=r"no super-resolution generator \(weight, bias, .*Pass the"):
        generator_of(torch.nn.Linear(2, 2).state_dict())


def test_the_critic_gives_one_logit_for_an_image_of_any_size():
    critic = ImageCritic(1, width=4)
    assert critic(torch.randn(2, 1, 32, 48)).shape == critic(torch.randn(2, 1, 64, 64)).shape == (2, 1, 1, 1)
