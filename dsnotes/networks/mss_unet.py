"""MSS U-Net's backbone: five strided halvings, the first in the slice plane only, and at most 320 channels.

Paper: Zhao et al. 2020, "Multi-Scale Supervised 3D U-Net for Kidneys and Kidney Tumor Segmentation",
https://arxiv.org/abs/2004.08108; widths, strides and kernels are those of the authors' release.
Departs from the paper: it says "not smaller than 8x8x8", but five halvings of 48x192x192 end at 6x6x6.
"""

from __future__ import annotations

from itertools import accumulate
from math import floor, log2
from typing import NamedTuple

import torch
from torch import nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, UP_CONV, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits


class Plan(NamedTuple):
    """`strides[i]`: from level i to level i + 1; `kernels[i]`: the encoder's at level i, the bottleneck's last."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]


def plan(patch: tuple[int, ...], spacing: tuple[float, ...], *, smallest: int = 4, halvings: int = 5) -> Plan:
    """Strides and kernels from patch and spacing, by nnU-Net's first rule ("pool late").

    Each axis is halved as often as leaves at least `smallest` voxels; an axis with fewer halvings is halved at the
    deeper levels. A kernel is 1 along an axis whose spacing is more than half the input's coarsest while another's is
    not.
    """
    if len(patch) != len(spacing):
        raise ValueError(
            f"patch {patch} and spacing {spacing} differ in length. Pass one spacing in mm for each axis of the patch."
        )
    possible = [min(halvings, max(0, floor(log2(n / smallest)))) for n in patch]
    deepest = max(possible)
    if deepest == 0:
        raise ValueError(f"patch {patch} cannot be halved once and keep {smallest} voxels. Use {2 * smallest} or more.")
    total = [2**n for n in possible]
    if any(n % s for n, s in zip(patch, total, strict=True)):
        nearest = tuple(max(1, round(n / s)) * s for n, s in zip(patch, total, strict=True))
        raise ValueError(
            f"patch {patch} cannot be halved {tuple(possible)} times. The nearest patch that can is {nearest}; "
            f"or pass fewer halvings=."
        )
    strides = tuple(tuple(2 if n + level >= deepest else 1 for n in possible) for level in range(deepest))
    kernels, now, coarsest = [], list(spacing), max(spacing)
    for stride in (*strides, (1,) * len(patch)):
        fine = [mm / coarsest <= 0.5 for mm in now]
        kernels.append(tuple(1 if any(fine) and not is_fine else 3 for is_fine in fine))
        now = [mm * s for mm, s in zip(now, stride, strict=True)]
    return Plan(strides, (*kernels[:-1], (3,) * len(patch)))


PAPER = plan((48, 192, 192), (3.0, 0.78162, 0.78162))


def initialise(part: nn.Module) -> None:
    """He's normal weights for a leaky ReLU of slope 0.01, biases 0: as in the release, also for the heads."""
    for module in part.modules():
        if isinstance(module, (*CONV.values(), *UP_CONV.values())):
            nn.init.kaiming_normal_(module.weight, a=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


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
