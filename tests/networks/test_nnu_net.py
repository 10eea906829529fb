"""nnU-Net's networks against dynamic-network-architectures and MONAI: the same parameters, levels and outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dsnotes.networks.baselines.nnu_net import BLOCKS, NNUNet
from dsnotes.networks.plan import plan

SIZES = {"2-D": (64, 96), "3-D": (32, 32, 32), "anisotropic": (16, 64, 64)}
PLANS = {
    "2-D": plan(SIZES["2-D"], (1.0, 1.0), halvings=4),
    "3-D": plan(SIZES["3-D"], (1.0, 1.0, 1.0)),
    "anisotropic": plan(SIZES["anisotropic"], (5.0, 1.0, 1.0)),
}
WIDTH, WIDEST = 4, 20


def ours(which, *, residual):
    return NNUNet(plan=PLANS[which], in_channels=2, classes=3, width=WIDTH, widest=WIDEST, residual=residual)


def theirs(which, *, residual):
    """The network that nnU-Net's trainer builds from the same plan."""
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    strides, kernels = PLANS[which]
    dims, stages = len(strides[0]), len(strides) + 1
    shape = {
        "input_channels": 2,
        "n_stages": stages,
        "features_per_stage": [min(WIDTH * 2**i, WIDEST) for i in range(stages)],
        "conv_op": {2: nn.Conv2d, 3: nn.Conv3d}[dims],
        "kernel_sizes": [list(kernel) for kernel in kernels],
        "strides": [[1] * dims, *map(list, strides)],
        "num_classes": 3,
        "conv_bias": True,
        "norm_op": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": False,
    }
    if residual:
        counts = [*BLOCKS, *(6,) * stages][:stages]
        return unet.ResidualEncoderUNet(n_blocks_per_stage=counts, n_conv_per_stage_decoder=[1] * (stages - 1), **shape)
    return unet.PlainConvUNet(n_conv_per_stage=2, n_conv_per_stage_decoder=2, **shape)


def by_type(network):
    """The layers with weights, each once, as the forward pass uses them: names do not matter, the order of use does."""
    used, hooks = [], []
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.modules.instancenorm._InstanceNorm):
            hooks.append(module.register_forward_hook(lambda m, *_: used.append(m)))
    return used, hooks


def in_order(network, image):
    used, hooks = by_type(network)
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return used


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("which", PLANS)
def test_with_their_weights_it_gives_nnu_nets_output(which, residual):
    """The order of use differs in one thing: they compute a block's shortcut first, ours last."""
    mine, other = ours(which, residual=residual).eval(), theirs(which, residual=residual).eval()
    image = torch.randn(2, 2, *SIZES[which], generator=torch.Generator().manual_seed(0))
    deep = sum(p.numel() for layer in other.decoder.seg_layers[:-1] for p in layer.parameters())  # for training alone
    assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in other.parameters()) - deep
    own, found = in_order(mine, image), in_order(other, image)
    assert len(own) == len(found)
    if residual:
        found = shortcuts_last(found)
    for a, b in zip(own, found, strict=True):
        a.load_state_dict(b.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(mine(image).logits, other(image), atol=1e-4, rtol=1e-4)


def shortcuts_last(layers):
    """Move each projection (1x1 without bias, and its norm) behind the block's two convolutions and norms."""
    moved, at = [], 0
    while at < len(layers):
        if isinstance(layers[at], nn.Conv2d | nn.Conv3d) and layers[at].bias is None:
            moved += [*layers[at + 2 : at + 6], *layers[at : at + 2]]
            at += 6
        else:
            moved.append(layers[at])
            at += 1
    return moved


@pytest.mark.parametrize("which", PLANS)
def test_monais_dynunet_has_the_same_shapes_and_parameters(which):
    """DynUNet's convolutions have no bias; its decoder takes the kernel of the level below, which only matters if
    kernels differ."""
    nets = pytest.importorskip("monai.networks.nets")
    strides, kernels = PLANS[which]
    dims = len(strides[0])
    steps = [(1,) * dims, *strides]
    other = nets.DynUNet(
        spatial_dims=dims,
        in_channels=2,
        out_channels=3,
        kernel_size=list(kernels),
        strides=steps,
        upsample_kernel_size=list(strides),
        filters=[min(WIDTH * 2**i, WIDEST) for i in range(len(steps))],
        norm_name=("INSTANCE", {"affine": True}),
    )
    mine = ours(which, residual=False)
    parts = [m for part in (mine.encoder, mine.decoder, mine.up) for m in part.modules()]
    biases = sum(m.bias.numel() for m in parts if isinstance(m, nn.modules.conv._ConvNd))
    if len(set(kernels)) == 1:
        counts = [sum(p.numel() for p in network.parameters()) for network in (mine, other)]
        assert counts[0] - biases == counts[1]
    image = torch.randn(1, 2, *SIZES[which])
    with torch.no_grad():
        assert mine(image).logits.shape == other(image).shape


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("which", PLANS)
def test_levels_say_what_the_maps_are(which, residual):
    mine, image = ours(which, residual=residual), torch.randn(1, 2, *SIZES[which])
    features = mine(image)
    for name, level in mine.levels.items():
        part, _, at = name.partition(".")
        found = features.bottleneck if part == "bottleneck" else getattr(features, part)[at]
        size = tuple(n // s for n, s in zip(SIZES[which], level.stride, strict=True))
        assert tuple(found.shape[1:]) == (level.channels, *size), name
    down = mine.encode(image)
    assert down.logits is None
    assert list(down.encoder) == list(features.encoder)


def test_a_residual_block_begins_as_its_shortcut():
    block = ours("2-D", residual=True).encoder[1][1]  # no change of size or channels
    x = torch.rand(1, 8, 6, 6)
    torch.testing.assert_close(block(x), x)
