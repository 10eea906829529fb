"""DeepLabV3+: parallel atrous convolutions of several rates on a ResNet-50, and a decoder with one skip.

Paper: Chen et al. 2018, https://arxiv.org/abs/1802.02611; output stride 16.
Departs from it as the two public PyTorch versions do. Plain: one 3x3 in the decoder. `separable`: depthwise separable
convolutions in the pyramid, after it and in the decoder, and aligned corners in the last upsampling.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.encoders import conv_norm, load_pretrained, require_slices, resnet50
from dsnotes.shapes import Image, n_logits

RATES = (6, 12, 18)


def unit(n_in: int, n_out: int, kernel: int = 1, dilation: int = 1, *, separable: bool = False) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; separable: a depthwise one and 1x1."""
    if not separable:
        return nn.Sequential(*conv_norm(n_in, n_out, kernel, 1, dilation), nn.ReLU())
    depthwise = nn.Conv2d(
        n_in, n_in, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=n_in, bias=False
    )
    return nn.Sequential(depthwise, *conv_norm(n_in, n_out, 1), nn.ReLU())


class Pyramid(nn.Module):
    """ASPP: 1x1, three atrous rates, and the image's mean, concatenated."""

    def __init__(self, n_in: int, n_out: int, *, separable: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [unit(n_in, n_out), *(unit(n_in, n_out, 3, rate, separable=separable) for rate in RATES)]
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), unit(n_in, n_out))
        self.join = nn.Sequential(unit(5 * n_out, n_out), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.interpolate(self.pooled(x), x.shape[2:], mode="bilinear")
        return self.join(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))


class DeepLabV3Plus(Backbone):
    """`width` is the ResNet's (64); pyramid and decoder have 4 · width channels, the skip is reduced to .75 · width."""

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        separable: bool = False,
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__()
        require_slices(dims, "DeepLabV3+")
        self.in_channels, self.classes, self.separable = in_channels, classes, separable
        self.trunk = resnet50(in_channels=in_channels, width=width, dilated=True)
        if pretrained is not None:
            load_pretrained(self.trunk, pretrained)
        wide, low, channels = 4 * width, 3 * width // 4, n_logits(classes)
        self.stride = (16, 16)
        self.levels = {
            **{
                f"encoder.stride{s}": Level(n, (s, s))
                for n, s in zip(self.trunk.channels[:-1], self.trunk.strides, strict=False)
            },
            "bottleneck": Level(self.trunk.channels[-1], self.stride),
            "decoder.stride1": Level(channels, (1, 1)),
            "decoder.stride4": Level(wide, (4, 4)),
        }
        self.pyramid = Pyramid(self.trunk.channels[-1], wide, separable=separable)
        if separable:
            self.pyramid = nn.Sequential(self.pyramid, unit(wide, wide, 3, separable=True))
        self.low = unit(self.trunk.channels[1], low)
        self.decoder = unit(low + wide, wide, 3, separable=separable)
        self.output = nn.Conv2d(wide, channels, 1)

    def forward(self, image: Image) -> Features:
        if self.training and len(image) == 1:
            raise ValueError(
                "DeepLabV3+ normalises one value per image (the pooled branch) over the batch, but a single image "
                "came. Train with batch=2 or more."
            )
        encoder, deepest = self.trunk(image)
        low = self.low(encoder["stride4"])
        y = functional.interpolate(self.pyramid(deepest), low.shape[2:], mode="bilinear", align_corners=self.separable)
        y = self.decoder(torch.cat([low, y], dim=1))
        logits = functional.interpolate(self.output(y), image.shape[2:], mode="bilinear", align_corners=self.separable)
        return Features(encoder, deepest, {"stride1": logits, "stride4": y}, logits)
