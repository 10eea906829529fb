"""Building blocks that several networks share, in 2-D and 3-D."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.stage import Stage


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that pads the depth itself where a CPU uses bfloat16 and the volume is shallower than the kernel.

    There the CPU's bfloat16 kernel for the weight gradient (torch 2.13 with AVX-512) reads and writes out of bounds:
    gradients reach 1e35, and the process sometimes crashes. The padded volume is as deep as the kernel or deeper.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        shallow = 1 < input.shape[2] < self.kernel_size[0]
        if shallow and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            depth, *plane = self.padding
            padded = nn.functional.pad(input, (0, 0, 0, 0, depth, depth))
            how = (self.stride, (0, *plane), self.dilation, self.groups)
            return nn.functional.conv3d(padded, self.weight, self.bias, *how)
        return super().forward(input)


class Blockwise:
    """A transposed convolution that a CPU computes in bfloat16 as one matrix product: faster for few channels.

    Its kernel is at most two strides wide, so that along each axis two neighbouring voxels make a block of `stride`
    output voxels.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        stride, dims, (n_in, n_out) = self.stride, len(self.stride), self.weight.shape[:2]
        wide = [n for s, k in zip(stride[::-1], self.kernel_size[::-1], strict=True) for n in (0, 2 * s - k)]
        taps = nn.functional.pad(self.weight, wide).reshape(n_in, n_out, *(n for s in stride for n in (2, s)))
        halves, within = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
        taps = taps.flip(tuple(halves)).permute(0, *halves, 1, *within).reshape(n_in * 2**dims, -1)
        near = nn.functional.pad(input, (1, 1) * dims)
        for axis in range(2, 2 + dims):
            near = near.unfold(axis, 2, 1)
        blocks = near.shape[2 : 2 + dims]
        near = near.permute(0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims)).reshape(-1, n_in * 2**dims)
        y = (near @ taps).view(len(input), *blocks, n_out, *stride)  # (B, *blocks, n_out, *stride)
        y = y.permute(0, 1 + dims, *(axis for i in range(dims) for axis in (1 + i, 2 + dims + i)))
        y = y.reshape(len(input), n_out, *(n * s for n, s in zip(blocks, stride, strict=True)))
        for axis, (n, s, cut) in enumerate(zip(input.shape[2:], stride, self.padding, strict=True), start=2):
            y = y.narrow(axis, cut, n * s)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, *(1,) * dims)


class BlockwiseUp2d(Blockwise, nn.ConvTranspose2d):
    pass


class BlockwiseUp3d(Blockwise, nn.ConvTranspose3d):
    pass


class MatmulGradients:
    """A transposed convolution whose gradients are matrix products under autocast on a CPU, two to three times as fast
    as PyTorch's (`benchmarks/up_conv.py`). Needs kernel = stride, no padding and one group; else PyTorch's.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        padded = any((*self.padding, *self.output_padding))
        no_overlap = self.kernel_size == self.stride and self.groups == 1 and not padded
        if not no_overlap or input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu")
        bias = None if self.bias is None else self.bias.to(dtype)
        return _UpConvByMatmul.apply(input.to(dtype), self.weight.to(dtype), bias)


class _UpConvByMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        up = nn.functional.conv_transpose2d if x.ndim == 4 else nn.functional.conv_transpose3d
        return up(x, weight, bias, stride=weight.shape[2:])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        n_in, n_out, *stride = weight.shape
        dims, (batch, _, *size) = len(stride), x.shape
        blocks = gradient.movedim(1, -1).reshape(
            batch, *(n for pair in zip(size, stride, strict=True) for n in pair), n_out
        )
        voxels, offsets = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
        blocks = blocks.permute(0, *voxels, *offsets, -1).reshape(-1, math.prod(stride) * n_out)
        kernel = weight.movedim(1, -1).reshape(n_in, -1)
        grad_input = (blocks @ kernel.T).view(batch, *size, n_in).movedim(-1, 1)
        grad_kernel = x.movedim(1, -1).reshape(-1, n_in).T @ blocks
        grad_weight = grad_kernel.view(n_in, *stride, n_out).movedim(-1, 1)
        return grad_input, grad_weight, gradient.sum((0, *range(2, 2 + dims))) if ctx.biased else None


class UpConv2d(MatmulGradients, nn.ConvTranspose2d):
    pass


class UpConv3d(MatmulGradients, nn.ConvTranspose3d):
    pass


CONV = {2: nn.Conv2d, 3: Conv3d}
UP_CONV = {2: UpConv2d, 3: UpConv3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


class ChannelsLast:
    """Instance norm that stays in channels-last format on a CPU: PyTorch's own copies to the other format and back.

    Instance norm is batch norm of each image by itself.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "cpu" or input.is_contiguous() or self.track_running_stats:
            return super().forward(input)
        how = {"training": True, "eps": self.eps}
        images = (nn.functional.batch_norm(x, None, None, self.weight, self.bias, **how) for x in input.split(1))
        return torch.cat(list(images))


class InstanceNorm2d(ChannelsLast, nn.InstanceNorm2d):
    pass


class InstanceNorm3d(ChannelsLast, nn.InstanceNorm3d):
    pass


NORM = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): InstanceNorm2d,
    ("instance", 3): InstanceNorm3d,
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
    conv = (BlockwiseUp2d, BlockwiseUp3d)[dims - 2](
        channels, channels, kernel, stride=stride, padding=padding, bias=bias
    )
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
