"""CE-Net: a ResNet-34, then chains of atrous convolutions and pooling of several sizes, then a light decoder.

Paper: Gu et al. 2019, https://arxiv.org/abs/1903.02740
Departs from it: pooling kernels are limited to the size of the map (the release needs images of 192²), and the first
convolution takes the image's number of channels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.encoders import load_pretrained, require_slices, resnet34
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

POOLS = (2, 3, 5, 6)


class DenseAtrous(nn.Module):
    """x + relu(A x) + relu(P B x) + relu(P B A x) + relu(P C B A x): A, B, C of rates 1, 3, 5, P 1x1, shared."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate) for rate in (1, 3, 5))
        self.p = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        ba = self.b(a)
        chains = (a, self.p(self.b(x)), self.p(ba), self.p(self.c(ba)))
        return x + sum(chain.relu() for chain in chains)


class PoolingPyramid(nn.Module):
    """x max-pooled by 2, 3, 5 and 6, each reduced to one map by a shared 1x1, upsampled and concatenated before x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        pooled = (functional.max_pool2d(x, tuple(min(k, n) for n in size)) for k in POOLS)
        raised = [functional.interpolate(self.one(y), size, mode="bilinear") for y in pooled]
        return torch.cat([*raised, x], dim=1)


class Up(Stage, nn.Sequential):
    """1x1 to a quarter, a transposed 3x3 of stride 2, 1x1; each with norm and ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        inner = n_in // 4
        super().__init__(
            nn.Conv2d(n_in, inner, 1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.ConvTranspose2d(inner, inner, 3, 2, 1, output_padding=1),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, n_out, 1),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        )


class CENet(Backbone):
    """`width` is the ResNet's 64; skips are added, not concatenated."""

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__()
        require_slices(dims, "CE-Net")
        self.in_channels, self.classes = in_channels, classes
        self.trunk = resnet34(in_channels=in_channels, width=width)
        if pretrained is not None:
            load_pretrained(self.trunk, pretrained)
        self.stride = (32, 32)
        decoded = {1: width // 2, 2: width, 4: width, 8: 2 * width, 16: 4 * width}
        self.levels = {
            **{
                f"encoder.stride{s}": Level(n, (s, s))
                for n, s in zip(self.trunk.channels[:-1], self.trunk.strides, strict=False)
            },
            "bottleneck": Level(8 * width + len(POOLS), self.stride),
            **{f"decoder.stride{s}": Level(n, (s, s)) for s, n in decoded.items()},
        }
        self.context = nn.Sequential(DenseAtrous(8 * width), PoolingPyramid(8 * width))
        ins = {16: 8 * width + len(POOLS), 8: 4 * width, 4: 2 * width, 2: width}
        self.up = nn.ModuleDict({f"stride{s}": Up(n, decoded[s]) for s, n in ins.items()})
        self.fine = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(width // 2, width // 2, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.output = nn.Conv2d(width // 2, n_logits(classes), 3, padding=1)

    def forward(self, image: Image) -> Features:
        encoder, deepest = self.trunk(image)
        bottleneck = x = self.context(deepest)
        decoder = {}
        for name, up in self.up.items():
            x = up(x)
            if name != "stride2":
                x = x + encoder[name]
            decoder[name] = x
        decoder["stride1"] = x = self.fine(x)
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(x))
