"""Building blocks that several networks share, in 2-D and 3-D."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.stage import Stage


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that computes in float32 where a CPU uses bfloat16 and the volume is shallower than the kernel.

    There the CPU's bfloat16 kernel for the weight gradient (torch 2.13 with AVX-512) reads and writes out of bounds:
    gradients reach 1e35, and the process sometimes crashes.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        shallow = 1 < input.shape[2] < self.kernel_size[0]
        if shallow and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


CONV = {2: nn.Conv2d, 3: Conv3d}
UP_CONV = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
NORM = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
}


def normalise(norm: str, dims: int, channels: int) -> nn.Module:
    """Batch or instance normalisation with a learned scale and shift; norm="none" is the identity."""
    if norm == "none":
        return nn.Identity()
    if (norm, dims) not in NORM:
        raise ValueError(
            f"norm={norm!r} in {dims}-D is unknown. Choose 'batch', 'instance' or 'none', and dims=2 or 3."
        )
    return NORM[norm, dims](channels, affine=True)


def norm_of(network: nn.Module) -> str:
    """The kind of normalisation in `network`, for a new part beside it."""
    modules = list(network.modules())
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in modules):
        return "batch"
    return "instance" if any(isinstance(m, nn.modules.instancenorm._InstanceNorm) for m in modules) else "none"


class Layers(Stage, nn.Sequential):
    """`nn.Sequential` as a stage."""


def conv_norm_relu(n_in: int, n_out: int, *, dims: int, kernel: int = 3, norm: str = "batch") -> nn.Sequential:
    """Convolution that keeps the size, normalisation, ReLU."""
    return Layers(
        CONV[dims](n_in, n_out, kernel, padding=kernel // 2), normalise(norm, dims, n_out), nn.ReLU(inplace=True)
    )


class DoubleConv(Stage, nn.Sequential):
    """(3x3 convolution, normalisation, ReLU), `convs` times: the U-Net's block."""

    def __init__(self, n_in: int, n_out: int, *, dims: int, norm: str = "batch", convs: int = 2) -> None:
        widths = [n_in] + [n_out] * convs
        super().__init__(*(conv_norm_relu(a, b, dims=dims, norm=norm) for a, b in pairwise(widths)))


class ResidualBlock(Stage):
    """`convs` convolutions and a shortcut, which is a 1x1 convolution where the channels change."""

    def __init__(self, n_in: int, n_out: int, *, dims: int, norm: str = "batch", convs: int = 2) -> None:
        super().__init__()
        *first, last = zip([n_in] + [n_out] * (convs - 1), [n_out] * convs, strict=True)
        self.body = nn.Sequential(
            *(conv_norm_relu(a, b, dims=dims, norm=norm) for a, b in first),
            CONV[dims](*last, 3, padding=1),
            normalise(norm, dims, n_out),
        )
        self.shortcut = (
            nn.Identity() if n_in == n_out else nn.Sequential(CONV[dims](n_in, n_out, 1), normalise(norm, dims, n_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.body(x) + self.shortcut(x), inplace=True)


def linear_up_sampling(channels: int, stride: tuple[int, ...], *, bias: bool = True) -> nn.Module:
    """A transposed convolution with stride s, initialised to linear interpolation (kernel 2s, or 2s - 1 for odd s)."""
    dims = len(stride)
    kernel = tuple(2 * s - s % 2 for s in stride)
    padding = tuple(s // 2 for s in stride)
    conv = UP_CONV[dims](channels, channels, kernel, stride=stride, padding=padding, bias=bias)
    tent = torch.ones(())
    for s, k in zip(stride, kernel, strict=True):
        along = 1 - (torch.arange(k) - (k - 1) / 2).abs() / s
        tent = tent.unsqueeze(-1) * along  # adds one axis
    with torch.no_grad():
        conv.weight.zero_()
        if bias:
            conv.bias.zero_()
        for channel in range(channels):
            conv.weight[channel, channel] = tent
    return conv
