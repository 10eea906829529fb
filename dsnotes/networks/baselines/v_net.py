"""V-Net: residual stages of 5x5x5 convolutions between strided ones.

Paper: Milletari, Navab and Ahmadi 2016, https://arxiv.org/abs/1606.04797
Departs from it as the public PyTorch port does: ELU; 1, 2, 3, 2 convolutions down and 2, 2, 1, 1 up; batch norm.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, UP_CONV, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

DOWN, UP = (1, 2, 3, 2), (1, 1, 2, 2)  # convolutions per stage; UP from the finest
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


class ResidualStage(Stage):
    """`convs` convolutions with a residual connection: ELU(convs(inside) + beside)."""

    def __init__(self, channels: int, convs: int, dims: int) -> None:
        super().__init__()
        layers = []
        for _ in range(convs):
            layers += [CONV[dims](channels, channels, 5, padding=2), normalise("batch", dims, channels), nn.ELU()]
        self.convs = nn.Sequential(*layers)

    def forward(self, inside: Tensor, beside: Tensor) -> Tensor:
        return nn.functional.elu(self.convs(inside) + beside)


class VNet(Backbone):
    """`width` is 16 in the paper: 16, 32, 64, 128 channels, and 256 at stride 16.

    The published count of 45,600,316 is for two output channels with a softmax (`out_channels=2`).
    """

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 16, out_channels: int | None = None
    ) -> None:
        super().__init__()
        if width % in_channels:
            raise ValueError(
                f"V-Net adds its repeated input to {width} maps, but width={width} is not a multiple of in_channels="
                f"{in_channels}. Use width={-(-width // in_channels) * in_channels}."
            )
        self.in_channels, self.classes = in_channels, classes
        widths = [width * 2**i for i in range(5)]
        decoded = [2 * width, *widths[2:4], widths[4]]  # channels out of the up stages, finest first
        self.stride = (16,) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(decoded)},
        }
        self.first = nn.Sequential(CONV[dims](in_channels, width, 5, padding=2), normalise("batch", dims, width))
        self.down = nn.ModuleList(
            nn.Sequential(CONV[dims](a, b, 2, stride=2), normalise("batch", dims, b), nn.ELU())
            for a, b in pairwise(widths)
        )
        self.encoder = nn.ModuleList(ResidualStage(n, convs, dims) for n, convs in zip(widths[1:], DOWN, strict=True))
        below = [*decoded[1:], widths[-1]]
        self.up = nn.ModuleList(
            nn.Sequential(UP_CONV[dims](n_in, n_out // 2, 2, stride=2), normalise("batch", dims, n_out // 2), nn.ELU())
            for n_in, n_out in zip(below, decoded, strict=True)
        )
        self.decoder = nn.ModuleList(ResidualStage(n, convs, dims) for n, convs in zip(decoded, UP, strict=True))
        self.drop = DROPOUT[dims](0.5)
        outputs = out_channels or n_logits(classes)
        self.output = nn.Sequential(
            CONV[dims](decoded[0], outputs, 5, padding=2),
            normalise("batch", dims, outputs),
            nn.ELU(),
            CONV[dims](outputs, outputs, 1),
        )

    def forward(self, image: Image) -> Features:
        repeated = image.repeat(1, self.first[0].out_channels // image.shape[1], *[1] * (image.ndim - 2))
        x = nn.functional.elu(self.first(image) + repeated)
        maps = [x]
        for level, (down, stage) in enumerate(zip(self.down, self.encoder, strict=True)):
            d = down(x)
            x = stage(self.drop(d) if level >= 2 else d, d)
            maps.append(x)  # maps[i]: (B, widths[i], size / 2^i)
        decoder = {}
        for level in reversed(range(4)):
            y = self.up[level](self.drop(x) if level >= 2 else x)
            y = torch.cat([y, self.drop(maps[level])], dim=1)
            x = decoder[f"stride{2**level}"] = self.decoder[level](y, y)
        encoder = {f"stride{2**i}": x for i, x in enumerate(maps[:-1])}
        return Features(encoder, maps[-1], dict(reversed(decoder.items())), self.output(x))
