"""3-D FCN with pyramid pooling: the mean features of regions of several sizes, concatenated at every voxel.

Paper: Yang et al. 2018, "Automatic segmentation of kidney and renal tumor in CT images based on 3D fully convolutional
neural network with pyramid pooling module", ICPR, https://doi.org/10.1109/ICPR.2018.8545143
A reconstruction from the abstract (a 3-D FCN with pyramid pooling, trained end to end on a region around the kidney:
`dsnotes.data.region`). Residual stages, widths, bins and the decoder are ours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, LINEAR, UP_CONV, conv_norm_relu, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

BINS = (1, 2, 3, 6)
MEAN = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class StridedResidual(Stage):
    """Two convolutions and a shortcut; the first convolution has the stride."""

    def __init__(self, n_in: int, n_out: int, stride: int, dims: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            CONV[dims](n_in, n_out, 3, stride=stride, padding=1, bias=False),
            normalise("batch", dims, n_out),
            nn.ReLU(),
            CONV[dims](n_out, n_out, 3, padding=1, bias=False),
            normalise("batch", dims, n_out),
        )
        self.shortcut = nn.Identity()
        if stride > 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                CONV[dims](n_in, n_out, 1, stride=stride, bias=False), normalise("batch", dims, n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)).relu()


class PyramidPooling(nn.Module):
    """[x, its means over bins³ regions]; group norm in the branches, because a single mean has no batch variance."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        n_out = channels // len(BINS)
        self.mode = LINEAR[dims]
        self.branches = nn.ModuleList(
            nn.Sequential(MEAN[dims](bins), CONV[dims](channels, n_out, 1), nn.GroupNorm(1, n_out), nn.ReLU())
            for bins in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = (functional.interpolate(branch(x), x.shape[2:], mode=self.mode) for branch in self.branches)
        return torch.cat([x, *pooled], dim=1)


class FCNPPM(Backbone):
    """`width` maps at full size, doubled at each of three halvings; for 48 voxels per axis the finest bins hold one."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 32) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        widths = [width * 2**level for level in range(4)]
        self.stride = (8,) * dims
        at = {f"stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])}
        self.levels = {
            **{f"encoder.{name}": level for name, level in at.items()},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.{name}": level for name, level in at.items()},
        }
        self.stem = nn.Sequential(
            conv_norm_relu(in_channels, width, dims=dims), conv_norm_relu(width, width, dims=dims)
        )
        self.encoder = nn.ModuleList(
            nn.Sequential(StridedResidual(a, b, 2, dims), StridedResidual(b, b, 1, dims)) for a, b in pairwise(widths)
        )
        self.pyramid = nn.Sequential(
            PyramidPooling(widths[-1], dims), conv_norm_relu(2 * widths[-1], widths[-2], dims=dims)
        )
        self.up = nn.ModuleList(
            UP_CONV[dims](below, n, 2, stride=2)
            for below, n in zip([*widths[1:-1], widths[-2]], widths[:-1], strict=True)
        )
        self.decoder = nn.ModuleList(conv_norm_relu(2 * n, n, dims=dims) for n in widths[:-1])
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        maps = [self.stem(image)]
        for stage in self.encoder:
            maps.append(stage(maps[-1]))
        decoder, x = {}, self.pyramid(maps[-1])
        for level in reversed(range(3)):
            x = self.decoder[level](torch.cat([self.up[level](x), maps[level]], dim=1))
            decoder[f"stride{2**level}"] = x
        encoder = {f"stride{2**i}": x for i, x in enumerate(maps[:-1])}
        return Features(encoder, maps[-1], dict(reversed(decoder.items())), self.output(x))
