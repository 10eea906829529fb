"""MedT: gated axial attention in a shallow branch on the whole image and a deep branch on its patches.

Paper: Valanarasu et al. 2021, https://arxiv.org/abs/2102.10662
Departs from the release: all patches pass as one batch (batch norm sees them together), the gates are trained from the
start, and `grid` depends on the image size, because a patch must be a multiple of 32. `reference=True` has the
release's two logits and its 35,570 unused parameters (frozen here): 1,560,140 in all.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dsnotes.networks.axial_attention import Axial, along
from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.encoders import conv_norm, require_slices
from dsnotes.networks.stage import Stage
from dsnotes.shapes import Image, n_logits

BLOCKS = (1, 2, 4, 1)


class Block(Stage):
    """1x1, attention along columns, along rows, 1x1 to twice the planes, and a shortcut."""

    def __init__(
        self, n_in: int, planes: int, groups: int, *, length: int | None, stride: int, reference: bool
    ) -> None:
        super().__init__()
        self.down = nn.Sequential(*conv_norm(n_in, planes, 1), nn.ReLU())
        self.columns, self.rows = (Axial(planes, groups, length) for _ in range(2))
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.up = nn.Sequential(*conv_norm(planes, 2 * planes, 1))
        same = n_in == 2 * planes and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(n_in, 2 * planes, 1, stride))
        if reference and length is None:
            self.unused = nn.Conv2d(planes, planes, 1).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y = along(self.rows, along(self.columns, self.down(x), 2), 3)
        return (self.up(self.pool(y).relu()) + self.shortcut(x)).relu()


def stem(n_in: int, n_out: int) -> nn.Sequential:
    layers = [(n_in, n_out, 7, 2), (n_out, 128, 3, 1), (128, n_out, 3, 1)]
    return nn.Sequential(*(layer for given in layers for layer in (*conv_norm(*given), nn.ReLU())))


def up(conv: nn.Module, x: Tensor) -> Tensor:
    return functional.interpolate(conv(x), scale_factor=2, mode="bilinear").relu()


class MedT(Backbone):
    """`width` is 8 in the paper (s = .125); `size` is the side of the square images, on which the embeddings depend."""

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 2, width: int = 8, size: int = 128,
        reference: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        require_slices(dims, "MedT")
        groups = min(8, width)
        self.in_channels, self.classes, self.size, self.grid = in_channels, classes, size, min(4, size // 32)
        if width < 2 or 2 * width % groups or not self.grid or size % (32 * self.grid):
            raise ValueError(
                f"width={width}, size={size}: MedT needs a width up to 8 or a multiple of 4, and a side of 32, 64, 96 "
                f"or a multiple of 128, so that each patch is a multiple of 32. Pass width=8, "
                f"size={max(size // 128, 1) * 128}."
            )
        w, shared = width, {"groups": groups, "reference": reference}
        channels = 2 if reference else n_logits(classes)
        self.stride = (size, size)
        self.levels = {
            "encoder.stride2": Level(4 * w, (2, 2)), "bottleneck": Level(8 * w, (4, 4)),
            "decoder.stride1": Level(2 * w, (1, 1)), "decoder.stride2": Level(4 * w, (2, 2)),
        }  # fmt: skip

        def stage(n_in: int, planes: int, blocks: int, stride: int, length: int | None) -> nn.Sequential:
            inner = None if length is None else length // stride
            first = Block(n_in, planes, length=length, stride=stride, **shared)
            return nn.Sequential(
                first, *(Block(2 * planes, planes, length=inner, stride=1, **shared) for _ in range(blocks - 1))
            )

        self.stem, self.stem_local = stem(in_channels, w), stem(in_channels, 8 * w)
        self.whole = nn.ModuleList([stage(w, 2 * w, 1, 1, size // 2), stage(4 * w, 4 * w, 2, 2, size // 2)])
        planes = [2 * w, 4 * w, 8 * w, 16 * w]
        self.local = nn.ModuleList(
            stage(n_in, p, blocks, stride, None)
            for n_in, p, blocks, stride in zip([8 * w, 4 * w, 8 * w, 16 * w], planes, BLOCKS, (1, 2, 2, 2), strict=True)
        )
        self.up_whole = nn.ModuleList(nn.Conv2d(a * w, b * w, 3, padding=1) for a, b in ((8, 4), (4, 2)))
        pairs = ((32, 32), (32, 16), (16, 8), (8, 4), (4, 2))
        self.up_local = nn.ModuleList(
            nn.Conv2d(a * w, b * w, 3, stride=2 if a == b else 1, padding=1) for a, b in pairs
        )
        self.final = nn.Conv2d(2 * w, 2 * w, 3, padding=1)
        self.output = nn.Conv2d(2 * w, channels, 1)
        if reference:
            self.unused = nn.Conv2d(2 * w, channels, 1).requires_grad_(False)

    def forward(self, image: Image) -> Features:
        b, c, *space = image.shape
        if space != [self.size] * 2:
            raise ValueError(
                f"an image of {tuple(space)} came, but this MedT was built for {(self.size,) * 2}. Train "
                f"and predict with patch={(self.size,) * 2}, or build it with size={max(min(space) // 32, 1) * 32}."
            )
        fine = self.whole[0](self.stem(image))
        bottleneck = self.whole[1](fine)
        middle = up(self.up_whole[0], bottleneck) + fine
        y = up(self.up_whole[1], middle)

        g, side = self.grid, self.size // self.grid
        patches = image.view(b, c, g, side, g, side).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, side, side)
        maps, x = [], self.stem_local(patches)
        for layer in self.local:
            x = layer(x)
            maps.append(x)
        for conv, skip in zip(self.up_local, [*reversed(maps), None], strict=True):
            x = up(conv, x) if skip is None else up(conv, x) + skip
        x = x.view(b, g, g, -1, side, side).permute(0, 3, 1, 4, 2, 5).reshape(y.shape)
        y = self.final(y + x).relu()
        return Features({"stride2": fine}, bottleneck, {"stride1": y, "stride2": middle}, self.output(y))
