"""PSPNet: a dilated ResNet-50, whose map is concatenated with its means over 1, 4, 9 and 36 regions.

Paper: Zhao et al. 2017, https://arxiv.org/abs/1612.01105; layers as in the authors' PyTorch release (deep stem, stride
8). Departs from it: sizes divisible by 8, where the release needs a multiple of 8 plus 1; a single channel for two
classes. MSS U-Net's table cites it on a region around the kidney: `dsnotes.data.region`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Head, Level
from dsnotes.networks.encoders import STAGES, Bottleneck, conv_norm, require_slices
from dsnotes.shapes import Image, n_logits

BINS = (1, 2, 3, 6)
DILATIONS = (1, 1, 2, 4)  # of all 3x3 convolutions in a stage, including the first block


def unit(n_in: int, n_out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_norm(n_in, n_out, kernel, stride), nn.ReLU())


def scorer(n_in: int, n_between: int, channels: int) -> nn.Sequential:
    return nn.Sequential(unit(n_in, n_between, 3), nn.Dropout2d(0.1), nn.Conv2d(n_between, channels, 1))


class PyramidPooling(nn.Module):
    """[x, its means over bins x bins regions, each reduced by 1x1 to a quarter and upsampled]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), unit(channels, channels // len(BINS))) for bins in BINS
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(raised(branch(x), x) for branch in self.branches)], dim=1)


def raised(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class PSPNet(Backbone):
    """`width` is the ResNet's (64); the deep stem has twice as many channels."""

    def __init__(self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 64) -> None:
        super().__init__()
        require_slices(dims, "PSPNet")
        self.in_channels, self.classes = in_channels, classes
        self.stem = nn.Sequential(
            unit(in_channels, width, 3, 2), unit(width, width, 3), unit(width, 2 * width, 3), nn.MaxPool2d(3, 2, 1)
        )
        n_in, self.stages = 2 * width, nn.ModuleList()
        for stage, (blocks, dilation) in enumerate(zip(STAGES, DILATIONS, strict=True)):
            planes, layers = width * 2**stage, []
            for index in range(blocks):
                layers.append(Bottleneck(n_in, planes, 2 if stage == 1 and index == 0 else 1, dilation, index == 0))
                n_in = 4 * planes
            self.stages.append(nn.Sequential(*layers))
        self.stride, channels = (8, 8), n_logits(classes)
        self.levels = {
            "encoder.stride4": Level(4 * width, (4, 4)),
            "encoder.stride8": Level(16 * width, (8, 8)),
            "bottleneck": Level(n_in, (8, 8)),
            "decoder.stride1": Level(channels, (1, 1)),
        }
        self.pyramid = PyramidPooling(n_in)
        self.output = scorer(2 * n_in, 8 * width, channels)

    def forward(self, image: Image) -> Features:
        if self.training and len(image) == 1:
            raise ValueError(
                "PSPNet normalises one value per image (its coarsest mean) over the batch, but a single image came. "
                "Train with batch=2 or more."
            )
        x, maps = self.stem(image), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        four, _, eight, deepest = maps
        logits = raised(self.output(self.pyramid(deepest)), image)
        return Features({"stride4": four, "stride8": eight}, deepest, {"stride1": logits}, logits)


class AuxiliaryScore(Head):
    """An auxiliary prediction from the third stage, only for training: upsampled["stride8"]."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        channels = backbone.levels["encoder.stride8"].channels
        self.score = scorer(channels, channels // 4, n_logits(backbone.classes))

    def forward(self, features: Features, image: Image) -> dict:
        return {
            "upsampled": {"stride1": features.logits, "stride8": raised(self.score(features.encoder["stride8"]), image)}
        }
