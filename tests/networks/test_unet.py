"""The U-Net against published counts, PyTorch's own rules and the contract of every backbone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dsnotes.networks.base import Network, require_input
from dsnotes.networks.blocks import norm_of, normalise
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
    assert (outputs.side_outputs, outputs.upsampled, outputs.restored) == ({}, {}, None)


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


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((16, 16), r"Add batch and channel: image\[None, None\]"),
        (
            (1, 16, 16),
            r"image\[None\] for the batch, or image\[:, None\] for the channel",
        ),
        ((1, 1, 1, 1, 16, 16), r"4 spatial axes .*Pass \(batch, channel, \*space\) with 2 spatial axes"),
        ((1, 3, 16, 16), r"3 channels .*takes 1\. Build it with in_channels=3, or .*image\[:, :1\]"),
    ],
)
def test_an_image_of_another_shape_is_answered_with_what_to_do(shape, told):
    with pytest.raises(ValueError, match=told):
        Network(UNet(width=2))(torch.zeros(shape))


def test_an_image_of_another_type_is_answered_with_the_one_of_the_weights():
    network, image = Network(UNet(width=2)).eval(), torch.rand(1, 1, 16, 16)
    with pytest.raises(TypeError, match=r"torch\.float64, but the weights are torch\.float32\. Pass image\.float\(\)"):
        network(image.double())
    with pytest.raises(TypeError, match=r"Pass image\.to\(torch\.float64\)"):
        Network(UNet(width=2)).double()(image)
    with pytest.raises(TypeError, match=r"dtype torch\.uint8, .*image\.float\(\)"):
        require_input(image.byte(), 1, next(network.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        assert network(image).logits.dtype == network(image.bfloat16()).logits.dtype == torch.bfloat16


def test_the_checks_of_an_image_break_no_compiled_graph():
    program = (  # in a process of its own, since the checked annotations of a test cannot be traced
        "import torch\n"
        "from dsnotes.networks.base import Network\n"
        "from dsnotes.networks.unet import UNet\n"
        "network, image = Network(UNet(width=2)).eval(), torch.rand(1, 1, 16, 16)\n"
        "compiled = torch.compile(network.forward, backend='eager', fullgraph=True)\n"
        "torch.testing.assert_close(compiled(image).logits, network(image).logits)\n"
        "with torch.autocast('cpu', torch.bfloat16):\n"
        "    assert compiled(image).logits.dtype == torch.bfloat16\n"
    )
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert ran.returncode == 0, ran.stderr


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="norm='layer' in 2-D is unknown. Choose 'batch', 'instance' or 'none'"):
        UNet(norm="layer")


def test_without_norm_it_is_convolutions_alone_and_so_is_what_is_put_beside_it():
    """Ronneberger's own: 64 to 1024 channels with 31,030,593 parameters, 11,776 fewer than with batch norm."""
    with torch.device("meta"):
        counts = {norm: sum(p.numel() for p in UNet(norm=norm).parameters()) for norm in ("none", "batch")}
    assert counts == {"none": 31_030_593, "batch": 31_042_369}
    assert [norm_of(UNet(width=2, norm=norm)) for norm in ("none", "batch", "instance")] == [
        "none",
        "batch",
        "instance",
    ]
    image, net = torch.randn(2, 1, 16, 16), Network(UNet(width=2, norm="none"))
    alone = torch.cat([net(one).logits for one in image.split(1)])
    torch.testing.assert_close(net(image).logits, alone)  # no image has a say in another's answer


@pytest.mark.parametrize(("dims", "layout"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
def test_instance_norm_in_channels_last_is_pytorchs_and_keeps_the_format(dims, layout):
    norm = normalise("instance", dims, 5).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(3, 5, *(4, 6, 7)[:dims], dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    expected = torch.nn.functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    found = norm(x)
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, expected)
    inputs = [x, norm.weight, norm.bias]
    ours, theirs = (torch.autograd.grad(y.cos().sum(), inputs) for y in (found, expected))
    torch.testing.assert_close(ours, theirs)
