"""ResUNet++: residual blocks with squeeze-and-excitation, atrous pyramids before and after a decoder with attention.

Paper: Jha et al. 2019, https://arxiv.org/abs/1911.07067; layers as in the authors' release, which downsamples only
three times: the bridge is at 1/8, and the block before it has no skip.
Departs from it only below width 8, where the smallest squeeze keeps one channel instead of none.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, MAX_POOL, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

ATROUS = (1, 6, 12, 18)
SQUEEZE = 8


class SqueezeExcite(nn.Module):
    """Every channel scaled by a number between 0 and 1, computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // SQUEEZE)
        self.weigh = nn.Sequential(
            nn.Linear(channels, inner, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weigh(x.flatten(2).mean(2))  # (B, C)
        return x * weights.view(*weights.shape, *[1] * (x.ndim - 2))


def norm_relu_conv(n_in: int, n_out: int, dims: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        normalise("batch", dims, n_in), nn.ReLU(inplace=True), CONV[dims](n_in, n_out, 3, stride=stride, padding=1)
    )


class Residual(Stage):
    """(norm, ReLU, 3x3) twice plus a 1x1 shortcut, then squeeze-and-excitation; `stem` starts with a plain 3x3."""

    def __init__(self, n_in: int, n_out: int, dims: int, *, stride: int = 1, stem: bool = False) -> None:
        super().__init__()
        first = CONV[dims](n_in, n_out, 3, padding=1) if stem else norm_relu_conv(n_in, n_out, dims, stride)
        self.body = nn.Sequential(first, norm_relu_conv(n_out, n_out, dims))
        self.shortcut = nn.Sequential(CONV[dims](n_in, n_out, 1, stride=stride), normalise("batch", dims, n_out))
        self.excite = SqueezeExcite(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.excite(self.body(x) + self.shortcut(x))


class Atrous(nn.Module):
    """Four dilated 3x3 convolutions, summed, then 1x1."""

    def __init__(self, n_in: int, n_out: int, dims: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(CONV[dims](n_in, n_out, 3, padding=d, dilation=d), normalise("batch", dims, n_out))
            for d in ATROUS
        )
        self.merge = CONV[dims](n_out, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(sum(branch(x) for branch in self.branches))


class Attention(Stage):
    """The deep map times weights from it and the pooled encoder map; without a sigmoid, so not bounded by 1."""

    def __init__(self, skip: int, deep: int, dims: int) -> None:
        super().__init__()
        self.of_skip = nn.Sequential(norm_relu_conv(skip, deep, dims), MAX_POOL[dims](2))
        self.of_deep = norm_relu_conv(deep, deep, dims)
        self.together = norm_relu_conv(deep, deep, dims)

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return self.together(self.of_skip(skip) + self.of_deep(deep)) * deep


class ResUNetPlusPlus(Backbone):
    """4,062,993 parameters for colour images (4,062,673 for grey ones).

    Its decoder has twice the encoder's channels at each level, and its levels are not two plain convolutions: µ-Net's
    `deep` and `auto` fit, the tied decoder does not.
    """

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 16) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        widths = [width * 2**i for i in range(5)]
        self.stride = (8,) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:3])},
            "bottleneck": Level(widths[4], self.stride),
            **{f"decoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[1:4])},
        }
        self.encoder = nn.ModuleList(
            [
                Residual(in_channels, width, dims, stem=True),
                *(Residual(a, b, dims, stride=2) for a, b in pairwise(widths[:3])),
            ]
        )
        self.bottleneck = nn.Sequential(
            Residual(widths[2], widths[3], dims, stride=2), Atrous(widths[3], widths[4], dims)
        )
        steps = list(zip(widths[:3], widths[2:], widths[1:4], strict=True))  # (skip, from below, out), finest first
        self.attention = nn.ModuleList(Attention(skip, deep, dims) for skip, deep, _ in steps)
        self.decoder = nn.ModuleList(Residual(skip + deep, n_out, dims) for skip, deep, n_out in steps)
        self.output = nn.Sequential(Atrous(2 * width, width, dims), CONV[dims](width, n_logits(classes), 1))

    def forward(self, image: Image) -> Features:
        encoder, x = {}, image
        for level, block in enumerate(self.encoder):
            x = encoder[f"stride{2**level}"] = block(x)  # (B, width·2^level, size / 2^level)
        bottleneck = x = self.bottleneck(x)
        decoder = {}
        for level in reversed(range(3)):
            skip = encoder[f"stride{2**level}"]
            x = nn.functional.interpolate(self.attention[level](skip, x), scale_factor=2, mode="nearest")
            x = decoder[f"stride{2**level}"] = self.decoder[level](torch.cat([x, skip], dim=1))
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(x))
