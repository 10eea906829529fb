"""A boundary-aware network: a second stream, from the bottleneck up, finds the borders and tells the masks of them.

Paper: Myronenko and Hatamizadeh 2019, https://arxiv.org/abs/1909.06684
A reconstruction: only the abstract was at hand (an encoder-decoder, a boundary branch, edge-aware losses). The blocks
are those of the first author's network for brain tumours; how the stream is gated, and all widths, are ours.
"""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, LINEAR
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

BLOCKS = (1, 2, 2, 4)  # of the encoder's levels, finest first


def pre_activated(n_in: int, n_out: int, dims: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(gcd(8, n_in), n_in), nn.ReLU(), CONV[dims](n_in, n_out, 3, padding=1, bias=False))


class Block(Stage):
    """x + two pre-activated convolutions."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.body = nn.Sequential(pre_activated(channels, channels, dims), pre_activated(channels, channels, dims))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Rise(Stage):
    """1x1 to half the maps, then twice the size."""

    def __init__(self, n_in: int, n_out: int, dims: int) -> None:
        super().__init__()
        self.narrow, self.mode = CONV[dims](n_in, n_out, 1, bias=False), LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.narrow(x), scale_factor=2, mode=self.mode)


class Gated(Stage):
    """z -> block(z + g z), where g in [0, 1] is told by z and the mask's map y which place matters."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.gate = CONV[dims](2 * channels, 1, 1)
        self.block = Block(channels, dims)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.block(z * self.gate(torch.cat([z, y], dim=1)).sigmoid() + z)


class BoundaryAware(Backbone):
    """One logit of its border for every foreground class stands among the decoder's maps as "edge".

    `supervision.boundary` asks it beside the masks; the masks' last convolutions see both streams.
    """

    def __init__(self, *, in_channels: int = 1, classes: int = 3, dims: int = 3, width: int = 32) -> None:
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
        self.first = CONV[dims](in_channels, width, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(Block(n, dims) for _ in range(count))) for n, count in zip(widths, BLOCKS, strict=True)
        )
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(CONV[dims](a, b, 3, stride=2, padding=1, bias=False) for a, b in pairs)
        self.up = nn.ModuleList(Rise(b, a, dims) for a, b in pairs)
        self.decoder = nn.ModuleList(Block(a, dims) for a in widths[:-1])
        self.edge_up = nn.ModuleList(Rise(b, a, dims) for a, b in pairs)
        self.gates = nn.ModuleList(Gated(a, dims) for a in widths[:-1])
        self.edge = CONV[dims](width, max(classes - 1, 1), 1)
        self.output = nn.Sequential(pre_activated(2 * width, width, dims), CONV[dims](width, n_logits(classes), 1))

    def forward(self, image: Image) -> Features:
        x, maps = self.first(image), []
        for level, stage in enumerate(self.encoder):
            x = stage(x if level == 0 else self.down[level - 1](x))
            maps.append(x)
        y = z = maps[-1]
        decoder = {}
        for level in reversed(range(3)):
            y = decoder[f"stride{2**level}"] = self.decoder[level](self.up[level](y) + maps[level])
            z = self.gates[level](self.edge_up[level](z), y)
        decoder["edge"] = self.edge(z)
        encoder = {f"stride{2**i}": x for i, x in enumerate(maps[:-1])}
        return Features(encoder, maps[-1], dict(reversed(decoder.items())), self.output(torch.cat([y, z], dim=1)))
