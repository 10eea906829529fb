"""FCN-8s: VGG-16 made convolutional, its scores at strides 32, 16 and 8 summed and brought to full size.

Paper: Long, Shelhamer and Darrell 2015, https://arxiv.org/abs/1411.4038
Departs from it: the first convolution is padded by 1 instead of 100, and the transposed convolutions keep the size, so
that nothing is cropped; the parameters are the same. It is trained from scratch, with He initialisation instead of
VGG's weights. The transposed convolutions start as bilinear interpolation and are trained; the authors froze them.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, MAX_POOL, Layers, linear_up_sampling
from dsnotes.shapes import Image, n_logits

VGG16 = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # a stage's width in units of `width`, and its convolutions
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


class FCN(Backbone):
    """The decoder only sums scores, so heads can read nothing else there."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        self.stride = (32,) * dims
        channels = n_logits(classes)
        widths = [factor * width for factor, _ in VGG16]
        self.levels = {
            **{f"encoder.stride{2**i}": Level(n, (2**i,) * dims) for i, n in enumerate(widths)},
            "bottleneck": Level(64 * width, self.stride),
            **{f"decoder.stride{s}": Level(channels, (s,) * dims) for s in (1, 8, 16)},
        }
        self.stages = nn.ModuleList(
            Layers(
                *(
                    layer
                    for a, b in pairwise([n_in, *[n_out] * convs])
                    for layer in (CONV[dims](a, b, 3, padding=1), nn.ReLU(inplace=True))
                )
            )
            for n_in, n_out, (_, convs) in zip([in_channels, *widths], widths, VGG16, strict=False)
        )
        self.pool = MAX_POOL[dims](2)
        self.top = Layers(
            CONV[dims](widths[-1], 64 * width, 7, padding=3),
            nn.ReLU(inplace=True),
            DROPOUT[dims](0.5),
            CONV[dims](64 * width, 64 * width, 1),
            nn.ReLU(inplace=True),
            DROPOUT[dims](0.5),
        )
        self.scores = nn.ModuleDict(
            {
                "stride32": CONV[dims](64 * width, channels, 1),
                "stride16": CONV[dims](widths[3], channels, 1),
                "stride8": CONV[dims](widths[2], channels, 1),
            }
        )
        self.up = nn.ModuleDict(
            {
                "stride16": linear_up_sampling(channels, (2,) * dims, bias=False),
                "stride8": linear_up_sampling(channels, (2,) * dims, bias=False),
                "stride1": linear_up_sampling(channels, (8,) * dims, bias=False),
            }
        )
        for module in (*self.stages.modules(), *self.top.modules(), *self.scores.modules()):
            if isinstance(module, CONV[dims]):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: Image) -> Features:
        encoder, pooled, x = {}, {}, image
        for level, stage in enumerate(self.stages):
            x = encoder[f"stride{2**level}"] = stage(x)
            x = pooled[2 ** (level + 1)] = self.pool(x)  # (B, widths[level], size / 2^(level + 1))
        bottleneck = self.top(x)
        at16 = self.up["stride16"](self.scores["stride32"](bottleneck)) + self.scores["stride16"](pooled[16])
        at8 = self.up["stride8"](at16) + self.scores["stride8"](pooled[8])
        logits = self.up["stride1"](at8)
        return Features(encoder, bottleneck, {"stride1": logits, "stride8": at8, "stride16": at16}, logits)
