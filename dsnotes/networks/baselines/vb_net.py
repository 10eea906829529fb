"""VB-Net: a V-Net of 3x3x3 convolutions with bottlenecks. The paper uses two: one finds the kidneys, one segments them.

Paper: Mu et al. 2019, "Segmentation of kidney tumor by multi-resolution VB-nets", KiTS19 proceedings,
https://doi.org/10.24926/548719.003
A reconstruction without the paper: the blocks are those of public code from the same group. `networks.two_stage` joins
the two.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, UP_CONV, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

DOWN, UP = (1, 2, 3, 3), (1, 2, 3, 3)  # units per stage; UP from the finest


def conv_norm(n_in: int, n_out: int, kernel: int, dims: int) -> list[nn.Module]:
    return [CONV[dims](n_in, n_out, kernel, padding=kernel // 2), normalise("batch", dims, n_out)]


class Residual(Stage):
    """ReLU(x + units(x)); a unit is 3x3, or 1x1 to a quarter, 3x3, 1x1 back; no ReLU after the last unit."""

    def __init__(self, channels: int, units: int, narrow: bool, dims: int) -> None:
        super().__init__()
        quarter, layers = max(channels // 4, 1), []
        widths, kernels = ([channels, quarter, quarter, channels], (1, 3, 1)) if narrow else ([channels] * 2, (3,))
        for _ in range(units):
            for (a, b), kernel in zip(pairwise(widths), kernels, strict=True):
                layers += [*conv_norm(a, b, kernel, dims), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class VBNet(Backbone):
    """`width` is 16 (256 at stride 16); units have a bottleneck from 4 · width on, in the decoder from 8 · width on."""

    def __init__(
        self, *, in_channels: int = 1, classes: int = 3, dims: int = 3, width: int = 16, out_channels: int | None = None
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        widths = [width * 2**i for i in range(5)]
        decoded = [2 * width, *widths[2:]]  # channels out of the up stages, finest first
        self.stride = (16,) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(decoded)},
        }
        self.first = nn.Sequential(*conv_norm(in_channels, width, 3, dims), nn.ReLU())
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(CONV[dims](a, b, 2, stride=2), normalise("batch", dims, b), nn.ReLU()),
                Residual(b, units, b >= 4 * width, dims),
            )
            for (a, b), units in zip(pairwise(widths), DOWN, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(UP_CONV[dims](n_in, n // 2, 2, stride=2), normalise("batch", dims, n // 2), nn.ReLU())
            for n_in, n in zip([*decoded[1:], widths[-1]], decoded, strict=True)
        )
        self.decoder = nn.ModuleList(
            Residual(n, units, n >= 8 * width, dims) for n, units in zip(decoded, UP, strict=True)
        )
        outputs = out_channels or n_logits(classes)
        self.output = nn.Sequential(
            *conv_norm(decoded[0], outputs, 3, dims), nn.ReLU(), CONV[dims](outputs, outputs, 1)
        )

    def forward(self, image: Image) -> Features:
        maps, decoder = [self.first(image)], {}
        for stage in self.down:
            maps.append(stage(maps[-1]))
        x = maps[-1]
        for level in reversed(range(4)):
            x = self.decoder[level](torch.cat([self.up[level](x), maps[level]], dim=1))
            decoder[f"stride{2**level}"] = x
        encoder = {f"stride{2**i}": x for i, x in enumerate(maps[:-1])}
        return Features(encoder, maps[-1], dict(reversed(decoder.items())), self.output(x))
