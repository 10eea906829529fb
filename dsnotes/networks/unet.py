"""The U-Net, 2-D and 3-D, plain or residual: the backbone that every supervision is tried on first.

Papers: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; Çiçek et al. 2016, https://arxiv.org/abs/1606.06650
Departs from them: padded convolutions (nothing is cropped), normalisation after each, and instance norm on request.
"""

from __future__ import annotations

import torch
from torch import nn

from dsnotes.networks.blocks import CONV, MAX_POOL, UP_CONV, DoubleConv, ResidualBlock
from dsnotes.networks.outputs import Backbone, Features, Level
from dsnotes.shapes import Image, n_logits


class UNet(Backbone):
    """`width` channels at full size, doubled at each of `depth - 1` halvings.

    `skips` is one module a level, the identity here: what a paper puts between encoder and decoder goes there.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        depth: int = 5,
        residual: bool = False,
        bottleneck_convs: int = 2,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        block = ResidualBlock if residual else DoubleConv
        widths = [width * 2**level for level in range(depth)]
        self.stride = (2 ** (depth - 1),) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
        }
        shared = {"dims": dims, "norm": norm}
        self.pool = MAX_POOL[dims](2)
        self.encoder = nn.ModuleList(
            block(n_in, n_out, **shared) for n_in, n_out in zip([in_channels, *widths], widths[:-1], strict=False)
        )
        self.skips = nn.ModuleList(nn.Identity() for _ in widths[:-1])
        self.bottleneck = block(widths[-2], widths[-1], convs=bottleneck_convs, **shared)
        self.up = nn.ModuleList(UP_CONV[dims](2 * n, n, 2, stride=2) for n in widths[:-1])
        self.decoder = nn.ModuleList(block(2 * n, n, **shared) for n in widths[:-1])
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        encoder = {}
        x = image
        for level, block in enumerate(self.encoder):
            x = encoder[f"stride{2**level}"] = block(
                x if level == 0 else self.pool(x)
            )  # (B, width·2^level, size / 2^level)
        bottleneck = x = self.bottleneck(self.pool(x))
        decoder = {}
        for level in reversed(range(len(self.decoder))):
            skip = self.skips[level](encoder[f"stride{2**level}"])
            x = self.decoder[level](torch.cat([self.up[level](x), skip], dim=1))
            decoder[f"stride{2**level}"] = x
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(x))
