"""3-D DSN: a plain fully convolutional network without skips, and two auxiliary classifiers on its encoder.

Paper: Dou et al. 2017, "3D deeply supervised network for automated segmentation of volumetric medical images",
Medical Image Analysis 41, https://doi.org/10.1016/j.media.2017.05.001; layers as in the authors' later heart version.
Departs from it: auxiliary upsampling with bias (`aux_bias=False` is the authors'), default initialisation.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from dsnotes.networks.base import Backbone, Features, Head, Level
from dsnotes.networks.blocks import CONV, MAX_POOL, UP_CONV, DoubleConv
from dsnotes.shapes import Image, n_logits

CONVS = (1, 2, 2, 2)  # convolutions in the four encoder levels


def climb(widths: list[int], outputs: int, dims: int, *, bias: bool = True) -> nn.Sequential:
    """Transposed convolutions through `widths` without activations between them, then 1x1."""
    steps = (UP_CONV[dims](a, b, 4, stride=2, padding=1, bias=bias) for a, b in pairwise(widths))
    return nn.Sequential(*steps, CONV[dims](widths[-1], outputs, 1))


class DSN3D(Backbone):
    """The main path: 6,240,098 parameters with two output channels and the paper's 32…256 maps."""

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 32, out_channels: int | None = None
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        self.outputs = out_channels or n_logits(classes)
        widths = [width * 2**i for i in range(4)]
        self.stride = (8,) * dims
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths[:-1])},
        }
        self.pool = MAX_POOL[dims](2)
        self.encoder = nn.ModuleList(
            DoubleConv(a, b, dims=dims, convs=convs)
            for (a, b), convs in zip(pairwise([in_channels, *widths]), CONVS, strict=True)
        )
        self.main = climb(widths[::-1], self.outputs, dims)

    def forward(self, image: Image) -> Features:
        maps, x = [], image
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            maps.append(x)  # maps[i]: (B, widths[i], size / 2^i)
        decoder = {}
        for level, up in zip((4, 2, 1), self.main[:-1], strict=True):
            x = decoder[f"stride{level}"] = up(x)
        encoder = {f"stride{2**i}": x for i, x in enumerate(maps[:-1])}
        return Features(encoder, maps[-1], dict(reversed(decoder.items())), self.main[-1](x))


class AuxiliaryClassifiers(Head):
    """From the encoder at strides 2 and 4 to full size; with the main path 7,026,790 parameters."""

    def __init__(self, backbone: DSN3D, *, aux_bias: bool = True) -> None:
        super().__init__()
        two, four = (backbone.levels[f"encoder.stride{s}"].channels for s in (2, 4))
        self.branches = nn.ModuleDict(
            {
                "stride2": climb([two, two // 2], backbone.outputs, backbone.dims, bias=aux_bias),
                "stride4": climb([four, four // 2, four // 4], backbone.outputs, backbone.dims, bias=aux_bias),
            }
        )

    def forward(self, features: Features, image: Image) -> dict:
        raised = {name: branch(features.encoder[name]) for name, branch in self.branches.items()}
        return {"upsampled": {"stride1": features.logits, **raised}}
