"""Inf-Net: a coarse map from the deep levels, refined outwards by reverse attention and guided by an edge map.

Paper: Fan et al. 2020, https://arxiv.org/abs/2004.14133, on Res2Net-50 v1b as in the authors' release.
Departs from it: the unused classifier of Res2Net (2,049,000 parameters) is left out.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.encoders import load_pretrained, require_slices, res2net50
from dsnotes.shapes import Image, n_logits


def unit(n_in: int, n_out: int, kernel: int | tuple[int, int] = 3, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, and batch norm; no ReLU, because the release builds one but does not apply it."""
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(dilation * (k // 2) for k in kernel)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, padding=padding, dilation=dilation, bias=False), nn.BatchNorm2d(n_out)
    )


def up(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def sized(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear")


class ReceptiveField(nn.Module):
    """Four branches with growing receptive fields, concatenated, and a shortcut."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        reach = (nn.Sequential(unit(n_in, n_out, 1), unit(n_out, n_out, (1, k)), unit(n_out, n_out, (k, 1)),
                               unit(n_out, n_out, 3, k)) for k in (3, 5, 7))  # fmt: skip
        self.branches = nn.ModuleList([unit(n_in, n_out, 1), *reach])
        self.join, self.beside = unit(4 * n_out, n_out), unit(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.join(torch.cat([branch(x) for branch in self.branches], dim=1)) + self.beside(x)).relu()


class PartialDecoder(nn.Module):
    """One score map from the three deepest maps, each multiplied by the upsampled deeper ones, at the finest size."""

    def __init__(self, c: int, channels: int) -> None:
        super().__init__()
        self.times = nn.ModuleList(unit(c, c) for _ in range(3))
        self.beside = nn.ModuleList([unit(c, c), unit(2 * c, 2 * c)])
        self.join = nn.ModuleList([unit(2 * c, 2 * c), unit(3 * c, 3 * c)])
        self.output = nn.Sequential(unit(3 * c, 3 * c), nn.Conv2d(3 * c, channels, 1))

    def forward(self, deep: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        a, b, c = self.times
        middle_too = a(up(deep)) * middle
        fine_too = b(up(up(deep))) * c(up(middle)) * fine
        y = self.join[0](torch.cat([middle_too, self.beside[0](up(deep))], dim=1))
        return self.output(self.join[1](torch.cat([fine_too, self.beside[1](up(y))], dim=1)))


class ReverseAttention(nn.Module):
    """Refines a coarser score where it found no foreground: score + conv([(1 - sigmoid(score)) · x, edge guide])."""

    def __init__(self, n_in: int, width: int, guide: int, channels: int, *, deepest: bool) -> None:
        super().__init__()
        kernel = 5 if deepest else 3
        self.narrow = unit(n_in, width, 1)
        self.convs = nn.ModuleList(
            [unit(width + guide, width, kernel)] + [unit(width, width, kernel) for _ in range(2 if deepest else 1)]
        )
        self.output = unit(width, channels, 1 if deepest else 3)

    def forward(self, x: Tensor, guide: Tensor, score: Tensor) -> Tensor:
        y = torch.cat([self.narrow((1 - seen(score)) * x), sized(guide, x)], dim=1)
        for conv in self.convs:
            y = conv(y).relu()
        return self.output(y) + score


def seen(score: Tensor) -> Tensor:
    """The foreground probability of a score map: (B, 1, H, W)."""
    return score.sigmoid() if score.shape[1] == 1 else 1 - score.softmax(1)[:, :1]


class InfNet(Backbone):
    """Scores at strides 8 ("coarse", from all maps), 32, 16 and 8 (refined, the last deployed), and an "edge" at 4.

    The five are among the decoder's maps, finest first; `supervision.edge_guided` uses all of them. `width` is the
    Res2Net's (64); `channel` and `attention` scale with it and are 32 and (256, 64) as published.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 64,
        channel: int | None = None,
        attention: tuple[int, int] | None = None,
        pretrained: str | Path | None = None,
    ) -> None:
        super().__init__()
        require_slices(dims, "Inf-Net")
        self.in_channels, self.classes = in_channels, classes
        c, (wide, narrow) = channel or max(width // 2, 1), attention or (4 * width, width)
        self.trunk = res2net50(in_channels=in_channels, width=width)
        if pretrained is not None:
            load_pretrained(self.trunk, pretrained)
        maps, channels, guide = self.trunk.channels, n_logits(classes), width
        self.stride = (32, 32)
        self.levels = {
            **{f"encoder.stride{s}": Level(n, (s, s)) for n, s in zip(maps[:-1], self.trunk.strides, strict=False)},
            "bottleneck": Level(maps[-1], self.stride),
            **{f"decoder.stride{s}": Level(channels, (s, s)) for s in (1, 8, 16)},
        }
        self.fields = nn.ModuleList(ReceptiveField(n, c) for n in maps[2:])
        self.coarse = PartialDecoder(c, channels)
        self.guide = nn.Sequential(unit(maps[1], guide, 1), unit(guide, guide), unit(guide, guide))
        self.edge = unit(guide, 1)
        self.attend = nn.ModuleDict(
            {
                "stride32": ReverseAttention(maps[4], wide, guide, channels, deepest=True),
                "stride16": ReverseAttention(maps[3], narrow, guide, channels, deepest=False),
                "stride8": ReverseAttention(maps[2], narrow, guide, channels, deepest=False),
            }
        )

    def forward(self, image: Image) -> Features:
        encoder, deepest = self.trunk(image)
        maps = {**encoder, "stride32": deepest}
        fine, middle, deep = (f(maps[f"stride{s}"]) for f, s in zip(self.fields, (8, 16, 32), strict=True))
        score = self.coarse(deep, middle, fine)
        guide = self.guide(encoder["stride4"])
        decoder = {"edge": self.edge(guide), "coarse": score}
        for name, attend in self.attend.items():
            score = attend(maps[name], guide, sized(score, maps[name]))
            decoder["score32" if name == "stride32" else name] = score  # "stride32" is the bottleneck itself
        decoder["stride1"] = logits = sized(score, image)
        finest_first = ("stride1", "edge", "stride8", "coarse", "stride16", "score32")  # not in order of computation
        return Features(encoder, deepest, {name: decoder[name] for name in finest_first}, logits)
