"""A boundary-aware network: a second decoder predicts the borders and passes its features to the masks.

Paper: Myronenko and Hatamizadeh 2019, https://arxiv.org/abs/1909.06684
A reconstruction from the abstract (an encoder-decoder, a boundary branch, edge-aware losses). The blocks are those of
the first author's network for brain tumours; the gates and all widths are ours.
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
    """A 1x1 convolution to `n_out` channels, then linear upsampling by 2."""

    def __init__(self, n_in: int, n_out: int, dims: int) -> None:
        super().__init__()
        self.narrow, self.mode = CONV[dims](n_in, n_out, 1, bias=False), LINEAR[dims]

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.narrow(x), scale_factor=2, mode=self.mode)


class Gated(Stage):
    """z -> block(z + g z), where the gate g in [0, 1] is computed from z and the mask decoder's map y."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.gate = CONV[dims](2 * channels, 1, 1)
        self.block = Block(channels, dims)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.block(z * self.gate(torch.cat([z, y], dim=1)).sigmoid() + z)


class BoundaryAware(Backbone):
    """The decoder's map "edge" holds one border logit per foreground class, which `supervision.boundary` uses.

    The last convolutions of the masks read both decoders.
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
