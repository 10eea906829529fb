"""FRRN: a full-resolution stream for precise positions, and a pooled stream for recognition.

Paper: Pohlen et al. 2017, https://arxiv.org/abs/1611.08323, with the schedules of the authors' release.
Departs from it: logits instead of log-probabilities, and PyTorch's border rule for bilinear upsampling.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.blocks import CONV, LINEAR, MAX_POOL, normalise
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

# (stride, channels in units of width, number of units): at most 8 widths, halved early in the decoder, as released.
DOWN = {
    "A": ((2, 2, 3), (4, 4, 4), (8, 8, 2), (16, 8, 2)),
    "B": ((2, 2, 3), (4, 4, 4), (8, 8, 2), (16, 8, 2), (32, 8, 2)),
}
UP = {
    "A": ((8, 4, 2), (4, 4, 2), (2, 2, 2)),
    "B": ((16, 4, 2), (8, 4, 2), (4, 4, 2), (2, 2, 2)),
}


def conv_norm(n_in: int, n_out: int, dims: int, kernel: int = 3) -> nn.Sequential:
    conv = CONV[dims](n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, normalise("batch", dims, n_out))


class ResidualUnit(Stage):
    """Two 3x3 and a shortcut, no ReLU after the sum; where channels change, the shortcut is a 1x1 without norm."""

    def __init__(self, n_in: int, n_out: int, dims: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_norm(n_in, n_out, dims), nn.ReLU(), conv_norm(n_out, n_out, dims))
        self.shortcut = nn.Identity() if n_in == n_out else CONV[dims](n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class FullResolutionUnit(Stage):
    """(y, z) -> (y', z + upsampled 1x1 of y'), where y' is computed from y and the pooled z."""

    def __init__(self, n_in: int, n_out: int, lanes: int, stride: int, dims: int) -> None:
        super().__init__()
        self.pool = MAX_POOL[dims](stride)
        self.body = nn.Sequential(
            conv_norm(n_in + lanes, n_out, dims), nn.ReLU(), conv_norm(n_out, n_out, dims), nn.ReLU()
        )
        self.write = CONV[dims](n_out, lanes, 1)
        self.up = nn.Upsample(scale_factor=stride, mode="nearest")

    def forward(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(torch.cat([y, self.pool(z)], dim=1))
        return y, z + self.up(self.write(y))


class FRRN(Backbone):
    """`variant` "A" has 49 layers down to stride 16, "B" 57 down to stride 32; the full-size stream has 2/3 `width`."""

    def __init__(
        self,
        *,
        in_channels: int = 1,
        classes: int = 2,
        dims: int = 2,
        width: int = 48,
        lanes: int | None = None,
        variant: str = "A",
    ) -> None:
        super().__init__()
        if variant not in DOWN:
            raise ValueError(f"variant={variant!r} is unknown. Choose one of {list(DOWN)}.")
        self.in_channels, self.classes = in_channels, classes
        lanes = max(2 * width // 3, 1) if lanes is None else lanes
        down, up = DOWN[variant], UP[variant]
        self.stride = (down[-1][0],) * dims
        self.levels = {
            "encoder.stride1": Level(width, (1,) * dims),
            **{f"encoder.stride{s}": Level(n * width, (s,) * dims) for s, n, _ in down[:-1]},
            "bottleneck": Level(down[-1][1] * width, self.stride),
            "decoder.stride1": Level(width, (1,) * dims),
            **{f"decoder.stride{s}": Level(n * width, (s,) * dims) for s, n, _ in reversed(up)},
        }
        self.stem = nn.Sequential(
            conv_norm(in_channels, width, dims, kernel=5),
            nn.ReLU(),
            *(ResidualUnit(width, width, dims) for _ in range(3)),
        )
        self.split = conv_norm(width, lanes, dims, kernel=1)  # the full-size stream
        n_in, stages = width, []
        for stride, times, units in (*down, *up):
            widths = [n_in] + [times * width] * units
            stages.append(nn.ModuleList(FullResolutionUnit(a, b, lanes, stride, dims) for a, b in pairwise(widths)))
            n_in = times * width
        self.down, self.up = nn.ModuleList(stages[: len(down)]), nn.ModuleList(stages[len(down) :])
        self.pool = MAX_POOL[dims](2)
        self.end = nn.Sequential(
            ResidualUnit(n_in + lanes, width, dims), *(ResidualUnit(width, width, dims) for _ in range(2))
        )
        self.output = CONV[dims](width, n_logits(classes), 1)

    def forward(self, image: Image) -> Features:
        y = self.stem(image)
        z, encoder, decoder = self.split(y), {"stride1": y}, {}
        for stage in self.down:
            y = self.pool(y)
            for unit in stage:
                y, z = unit(y, z)
            encoder[f"stride{stage[0].pool.kernel_size}"] = y
        bottleneck = encoder.popitem()[1]
        for stage in self.up:
            y = self.double_size(y)
            for unit in stage:
                y, z = unit(y, z)
            decoder[f"stride{stage[0].pool.kernel_size}"] = y
        y = decoder["stride1"] = self.end(torch.cat([self.double_size(y), z], dim=1))
        return Features(encoder, bottleneck, dict(reversed(decoder.items())), self.output(y))

    def double_size(self, y: Tensor) -> Tensor:
        return functional.interpolate(y, scale_factor=2, mode=LINEAR[self.dims])
