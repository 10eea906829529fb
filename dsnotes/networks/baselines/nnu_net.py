"""nnU-Net's two networks, 2-D and 3-D: plain convolutions, and a residual encoder ("ResEnc").

Papers: Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z; Isensee et al. 2024, "nnU-Net Revisited",
https://arxiv.org/abs/2404.09556. `networks.plan` derives strides and kernels from patch and spacing.
Departs from its release: the strides follow its first rule ("pool late").
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import AVG_POOL, CONV, UP_CONV, normalise
from dsnotes.networks.plan import Plan, initialise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

BLOCKS = (1, 3, 4, 6)  # residual blocks of the first levels; each deeper level has six
WIDEST = {2: 512, 3: 320}


def conv(n_in: int, n_out: int, kernel: tuple[int, ...], stride: tuple[int, ...] | int = 1) -> list[nn.Module]:
    dims = len(kernel)
    return [
        CONV[dims](n_in, n_out, kernel, stride=stride, padding=tuple(k // 2 for k in kernel)),
        normalise("instance", dims, n_out),
    ]


def activation() -> nn.Module:
    return nn.LeakyReLU(0.01, inplace=True)


class Convs(Stage, nn.Sequential):
    """(Convolution, instance norm, leaky ReLU), `count` times; the first convolution has the stride."""

    def __init__(self, n_in: int, n_out: int, *, kernel: tuple[int, ...], stride=1, count: int = 2) -> None:
        first = [*conv(n_in, n_out, kernel, stride), activation()]
        others = [part for _ in range(count - 1) for part in (*conv(n_out, n_out, kernel), activation())]
        super().__init__(*first, *others)


class Residual(nn.Module):
    """Two convolutions and a shortcut, which averages where the block has a stride (ResNet-D)."""

    def __init__(self, n_in: int, n_out: int, *, kernel: tuple[int, ...], stride: tuple[int, ...] | int = 1) -> None:
        super().__init__()
        dims = len(kernel)
        stride = (stride,) * dims if isinstance(stride, int) else stride
        self.body = nn.Sequential(*conv(n_in, n_out, kernel, stride), activation(), *conv(n_out, n_out, kernel))
        pooled = [AVG_POOL[dims](stride, stride)] if max(stride) > 1 else []
        projected = [CONV[dims](n_in, n_out, 1, bias=False), normalise("instance", dims, n_out)]
        self.shortcut = nn.Sequential(*pooled, *(projected if n_in != n_out else []))
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


class Residuals(Stage, nn.Sequential):
    """`count` residual blocks; the first has the stride."""

    def __init__(self, n_in: int, n_out: int, *, kernel: tuple[int, ...], stride: tuple[int, ...], count: int) -> None:
        first = Residual(n_in, n_out, kernel=kernel, stride=stride)
        super().__init__(first, *(Residual(n_out, n_out, kernel=kernel) for _ in range(count - 1)))


class NNUNet(Backbone):
    """`residual=True` is ResEnc: a stem, residual blocks in the encoder, one convolution per decoder level."""

    def __init__(
        self,
        *,
        plan: Plan,
        in_channels: int = 1,
        classes: int = 2,
        width: int = 32,
        widest: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        dims, depth = len(plan.strides[0]), len(plan.strides) + 1
        widths = [min(width * 2**level, widest or WIDEST[dims]) for level in range(depth)]
        strides = [(1,) * dims, *plan.strides]
        total = list(accumulate(strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True))))
        self.stride = total[-1]
        self.names = [f"stride{max(stride)}" for stride in total[:-1]]
        at = [Level(n, stride) for n, stride in zip(widths, total, strict=True)]
        self.levels = {
            **{f"encoder.{name}": level for name, level in zip(self.names, at[:-1], strict=True)},
            "bottleneck": at[-1],
            **{f"decoder.{name}": level for name, level in zip(self.names, at[:-1], strict=True)},
        }
        counts = [*BLOCKS, *(6,) * depth][:depth]
        self.stem = Convs(in_channels, widths[0], kernel=plan.kernels[0], count=1) if residual else nn.Identity()
        before = [widths[0] if residual else in_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            Residuals(n_in, n_out, kernel=kernel, stride=stride, count=count)
            if residual
            else Convs(n_in, n_out, kernel=kernel, stride=stride)
            for n_in, n_out, kernel, stride, count in zip(before, widths, plan.kernels, strides, counts, strict=True)
        )
        self.up = nn.ModuleList(
            UP_CONV[dims](below, n, stride, stride=stride)
            for below, n, stride in zip(widths[1:], widths[:-1], plan.strides, strict=True)
        )
        self.decoder = nn.ModuleList(
            Convs(2 * n, n, kernel=kernel, count=1 if residual else 2)
            for n, kernel in zip(widths[:-1], plan.kernels[:-1], strict=True)
        )
        self.output = CONV[dims](width, n_logits(classes), 1)
        initialise(self)
        for block in (part for part in self.modules() if isinstance(part, Residual)):
            nn.init.zeros_(block.body[-1].weight)  # a block begins as its shortcut

    def encode(self, image: Image) -> Features:
        maps, x = [], self.stem(image)
        for level in self.encoder:
            x = level(x)
            maps.append(x)  # maps[i]: (B, widths[i], size / total stride of level i)
        return Features(dict(zip(self.names, maps[:-1], strict=True)), maps[-1], {}, None)

    def forward(self, image: Image) -> Features:
        down = self.encode(image)
        decoder, x = {}, down.bottleneck
        for name, up, convs in reversed(list(zip(self.names, self.up, self.decoder, strict=True))):
            x = decoder[name] = convs(torch.cat([up(x), down.encoder[name]], dim=1))
        return Features(down.encoder, down.bottleneck, dict(reversed(decoder.items())), self.output(x))

    def mirrored(self) -> list[tuple[nn.Module, nn.Module]]:
        """The first and the last convolution of every level, which a tied decoder reuses."""
        stem = [] if isinstance(self.stem, nn.Identity) else [self.stem]
        pairs = []
        for level in [nn.Sequential(*stem, self.encoder[0]), *self.encoder[1:]]:
            convs = [
                m for name, m in level.named_modules() if isinstance(m, CONV[self.dims]) and "shortcut" not in name
            ]
            pairs.append((convs[0], convs[-1]))
        return pairs
