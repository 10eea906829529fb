"""The residual 3-D U-Net that won KiTS19: residual stages in the encoder, one convolution per level in the decoder.

Paper: Isensee and Maier-Hein 2019, https://arxiv.org/abs/1908.02182
A reconstruction: the blocks are those of the authors' later public class (twice convolution, instance norm, leaky ReLU,
with a shortcut), the strides those of its planner for 80 x 160 x 160 voxels of 3.22 x 1.62 x 1.62 mm. The width of 30
is ours, the same as MSS U-Net's, so that the two can be compared.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, UP_CONV, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

STRIDES = ((2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
BLOCKS = (1, 2, 3, 4, 4, 4)
SLOPE = 0.01


def conv_norm(n_in: int, n_out: int, dims: int, stride: tuple[int, ...] | int = 1) -> nn.Sequential:
    conv = CONV[dims](n_in, n_out, 3, stride=stride, padding=1)
    return nn.Sequential(conv, normalise("instance", dims, n_out))


class StridedResidual(Stage):
    """Two convolutions and a shortcut, which is a 1x1 without bias and a norm where stride or width change."""

    def __init__(self, n_in: int, n_out: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        dims = len(stride)
        self.body = nn.Sequential(
            conv_norm(n_in, n_out, dims, stride), nn.LeakyReLU(SLOPE), conv_norm(n_out, n_out, dims)
        )
        self.shortcut = nn.Identity()
        if n_in != n_out or max(stride) > 1:
            self.shortcut = nn.Sequential(
                CONV[dims](n_in, n_out, 1, stride=stride, bias=False), normalise("instance", dims, n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.body(x) + self.shortcut(x), SLOPE)


class ResUNetKiTS(Backbone):
    """`width` maps, doubled at each of five halvings up to `widest`; the depth axis is halved one time fewer."""

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 3,
        dims: int = 3,
        width: int = 30,
        widest: int | None = None,
        blocks: tuple[int, ...] = BLOCKS,
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        widest = 32 * width // 3 if widest is None else widest  # 320 for width 30
        widths = [min(width * 2**level, widest) for level in range(len(STRIDES) + 1)]
        strides = [(1,) * dims, *(stride[-dims:] for stride in STRIDES)]
        total = list(accumulate(strides, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True))))
        self.stride = total[-1]
        self.names = [f"stride{max(stride)}" for stride in total[:-1]]
        at = {name: Level(n, stride) for name, n, stride in zip(self.names, widths[:-1], total[:-1], strict=True)}
        self.levels = {
            **{f"encoder.{name}": level for name, level in at.items()},
            "bottleneck": Level(widths[-1], self.stride),
            **{f"decoder.{name}": level for name, level in at.items()},
        }
        self.first = nn.Sequential(conv_norm(in_channels, width, dims), nn.LeakyReLU(SLOPE))
        self.encoder = nn.ModuleList(
            nn.Sequential(
                StridedResidual(n_in, n, stride), *(StridedResidual(n, n, (1,) * dims) for _ in range(count - 1))
            )
            for n_in, n, stride, count in zip([width, *widths[:-1]], widths, strides, blocks, strict=True)
        )
        self.up = nn.ModuleList(
            UP_CONV[dims](below, n, stride, stride=stride, bias=False)
            for below, n, stride in zip(widths[1:], widths[:-1], strides[1:], strict=True)
        )
        self.decoder = nn.ModuleList(nn.Sequential(conv_norm(2 * n, n, dims), nn.LeakyReLU(SLOPE)) for n in widths[:-1])
        self.output = CONV[dims](width, n_logits(classes), 1, bias=False)

    def forward(self, image: Image) -> Features:
        x, maps = self.first(image), []
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)  # maps[i]: (B, widths[i], size / total[i])
        decoder = {}
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([self.up[level](x), maps[level]], dim=1))
            decoder[self.names[level]] = x
        encoder = dict(zip(self.names, maps[:-1], strict=True))
        return Features(encoder, maps[-1], dict(reversed(decoder.items())), self.output(x))
