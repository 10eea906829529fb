"""Anam-Net: a slim U-Net with squeezed 3x3 residuals ("anamorphic depth blocks") between its levels.

Paper: Paluru et al. 2021, https://doi.org/10.1109/TNNLS.2021.3054746; layers as in the authors' release.
Departs from the paper as that release does: 4.63 M parameters instead of 4.47 M.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, MAX_POOL, UP_CONV, conv_norm_relu, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits


class AnamorphicBlock(Stage):
    """ReLU(x + 1x1 to a quarter, 3x3, 1x1 back), with norm and ReLU after each of the three convolutions."""

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        quarter, layers = channels // 4, []
        for (a, b), kernel in zip(pairwise([channels, quarter, quarter, channels]), (1, 3, 1), strict=True):
            conv = CONV[dims](a, b, kernel, padding=kernel // 2, bias=False)
            layers += [conv, normalise("batch", dims, b), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class AnamNet(Backbone):
    """`width` is 64 in the release: 64, 128, 256 and 256 channels, and 256 at stride 16."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64) -> None:
        super().__init__()
        if width % 4:
            raise ValueError(
                f"width={width} is not divisible by 4, as Anam-Net's blocks need. Use width={4 * max(width // 4, 1)}."
            )
        self.in_channels, self.classes = in_channels, classes
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.stride = (16,) * dims
        at = {f"stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths)}
        self.levels = {
            **{f"encoder.{name}": level for name, level in at.items()},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.{name}": level for name, level in at.items()},
        }
        self.encoder = nn.ModuleList(conv_norm_relu(a, b, dims=dims) for a, b in pairwise([in_channels, *widths]))
        self.pool = MAX_POOL[dims](2)
        # Blocks follow the pooling of all levels except the deepest, and the upsampling to all except the finest.
        self.down = nn.ModuleList([*(AnamorphicBlock(n, dims) for n in widths[:-1]), nn.Identity()])
        self.raise_ = nn.ModuleList(
            UP_CONV[dims](n_in, n, 2, stride=2) for n_in, n in zip([*widths[1:], widths[-1]], widths, strict=True)
        )
        self.up = nn.ModuleList([nn.Identity(), *(AnamorphicBlock(n, dims) for n in widths[1:])])
        self.decoder = nn.ModuleList(conv_norm_relu(2 * n, n, dims=dims) for n in widths)
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        encoder, decoder, x = {}, {}, image
        for level, (conv, block) in enumerate(zip(self.encoder, self.down, strict=True)):
            skip = encoder[f"stride{2**level}"] = conv(x)
            x = block(self.pool(skip))
        bottleneck = x
        for level in reversed(range(4)):
            x = self.up[level](self.raise_[level](x))
            x = self.decoder[level](torch.cat([x, encoder[f"stride{2**level}"]], dim=1))
            decoder[f"stride{2**level}"] = x
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(x))
