"""MSS U-Net's backbone: five strided halvings, the first in the slice plane only, and at most 320 channels.

Paper: Zhao et al. 2020, "Multi-Scale Supervised 3D U-Net for Kidneys and Kidney Tumor Segmentation",
https://arxiv.org/abs/2004.08108; widths, strides and kernels are those of the authors' release.
Departs from the paper: it says "not smaller than 8x8x8", but five halvings of 48x192x192 end at 6x6x6.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, UP_CONV, normalise
from dsnotes.networks.plan import Plan, initialise, plan
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

PAPER = plan((48, 192, 192), (3.0, 0.78162, 0.78162))


class ConvBlock(Stage, nn.Sequential):
    """(Convolution, instance norm, leaky ReLU), twice; the first convolution has the stride."""

    def __init__(
        self, n_in: int, n_out: int, *, kernel: tuple[int, ...], stride: tuple[int, ...] | None = None
    ) -> None:
        dims, padding = len(kernel), tuple(k // 2 for k in kernel)
        super().__init__(
            CONV[dims](n_in, n_out, kernel, stride=stride or 1, padding=padding),
            normalise("instance", dims, n_out),
            nn.LeakyReLU(0.01, inplace=True),
            CONV[dims](n_out, n_out, kernel, padding=padding),
            normalise("instance", dims, n_out),
            nn.LeakyReLU(0.01, inplace=True),
        )


class MSSUNet(Backbone):
    """`plan` sets depth, strides and kernels; the default is the paper's, in 3-D."""

    def __init__(
        self, *, in_channels: int = 1, classes: int = 3, width: int = 30, widest: int = 320, plan: Plan = PAPER
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        dims = len(plan.strides[0])
        widths = [min(width * 2**level, widest) for level in range(len(plan.strides) + 1)]
        total = list(
            accumulate(plan.strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)), initial=(1,) * dims)
        )  # total[i]: the input's voxels per voxel of level i
        self.stride = total[-1]
        self.names = [f"stride{max(stride)}" for stride in total[:-1]]
        at = [Level(n, stride) for n, stride in zip(widths, total, strict=True)]
        self.levels = {
            **{f"encoder.{name}": level for name, level in zip(self.names, at[:-1], strict=True)},
            "bottleneck": at[-1],
            **{f"decoder.{name}": level for name, level in zip(self.names, at[:-1], strict=True)},
        }
        self.encoder = nn.ModuleList(
            ConvBlock(n_in, n_out, kernel=kernel, stride=stride)
            for n_in, n_out, kernel, stride in zip(
                [in_channels, *widths[:-1]], widths, plan.kernels, [None, *plan.strides], strict=True
            )
        )
        self.up = nn.ModuleList(
            UP_CONV[dims](below, n, stride, stride=stride, bias=False)
            for below, n, stride in zip(widths[1:], widths[:-1], plan.strides, strict=True)
        )
        self.decoder = nn.ModuleList(ConvBlock(2 * n, n, kernel=(3,) * dims) for n in widths[:-1])
        self.output = CONV[dims](width, n_logits(classes), 1, bias=False)
        initialise(self)

    def forward(self, image: Image) -> Features:
        maps, x = [], image
        for block in self.encoder:
            x = block(x)
            maps.append(x)  # maps[i]: (B, widths[i], size / total[i])
        decoder = {}
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([self.up[level](x), maps[level]], dim=1))
            decoder[self.names[level]] = x
        return Features(
            dict(zip(self.names, maps[:-1], strict=True)), maps[-1], dict(reversed(decoder.items())), self.output(x)
        )
